"""A model is one class: the loop, the evaluation, the bundle and the server take it by what it can do."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.recipes import finished, keep, resume
from tests.training.toys import TOYS, Codes, CodesConfig, ToyConfig
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from rayology.bundle import Bundle, Manifest, write_bundle
from rayology.data import PreparedDataset
from rayology.errors import DatasetError
from rayology.experiment import Experiment
from rayology.image import Batch
from rayology.models import capabilities
from rayology.models.base import BaseModelConfig
from rayology.training.cluster import require_suitable
from rayology.training.evaluation import Evaluator
from rayology.training.gradients import ALONE, Workers
from rayology.training.history import read
from rayology.training.loop import Training
from rayology.training.promotion import compare
from rayology.training.worker import augmented, train_here

CPU = torch.device("cpu")
CAPABLE_OF = {"toy_classifier": ("classify",), "toy_segmenter": ("segment",), "toy_codes": ("reconstruct",)}
FIGURES = {"toy_classifier": {"accuracy"}, "toy_segmenter": {"dice"}, "toy_codes": {"psnr", "ssim"}}


@pytest.fixture(params=TOYS, ids=lambda config: config.kind)
def toy(request: pytest.FixtureRequest) -> BaseModelConfig:
    config: BaseModelConfig = request.param
    return config


@pytest.fixture
def wider_manifest() -> Iterator[None]:
    """Let manifests name the toys, which are no members of the union of models."""
    field = Manifest.model_fields["model"]
    before, discriminator = field.annotation, field.discriminator
    field.annotation, field.discriminator = ToyConfig, None
    Manifest.model_rebuild(force=True)
    yield
    field.annotation, field.discriminator = before, discriminator
    Manifest.model_rebuild(force=True)


def experiment_of(small: Experiment, toy: BaseModelConfig) -> Experiment:
    quick = small.patched({"schedule": {"steps": 6, "evaluate_every": 3, "log_every": 2}})
    quick = quick.patched({"scaling": {"precision": "float64", "microbatches": 2}, "augment": {"flip": 0.5}})
    return quick.model_copy(update={"model": toy})  # unchecked: a toy is no member of the union


def trained(
    experiment: Experiment, data: PreparedDataset, folder: Path, workers: Workers = ALONE
) -> tuple[Training, list[Mapping[str, float]]]:
    reports: list[Mapping[str, float]] = []
    training = train_here(
        experiment,
        data,
        folder,
        report=lambda figures: reports.append(dict(figures)),
        device=CPU,
        workers=workers,
    )
    return training, reports


def test_a_class_says_what_it_can_do_before_it_is_built(toy: BaseModelConfig) -> None:
    assert capabilities(toy.builds()) == CAPABLE_OF[toy.kind]  # type: ignore[attr-defined] # each toy has a kind


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_toy_trains_is_measured_and_kept_by_what_it_can_do(
    toy: BaseModelConfig, small: Experiment, data: PreparedDataset, tmp_path: Path, wider_manifest: None
) -> None:
    del wider_manifest
    kind = toy.kind  # type: ignore[attr-defined] # as above
    experiment = experiment_of(small, toy)

    training, reports = trained(experiment, data, tmp_path)
    finished(experiment, data, training, tmp_path / "bundle")

    assert [set(report) for report in reports] == [{"step", "loss", *FIGURES[kind]}] * 2
    logged = [line for line in read(tmp_path) if "lr" in line]
    assert [line["step"] for line in logged] == [2, 4, 6]
    assert all(line["images_per_s"] > 0 for line in logged[1:])
    bundle = Bundle.load(tmp_path / "bundle")
    assert bundle.manifest.capabilities == CAPABLE_OF[kind]
    assert FIGURES[kind] <= set(bundle.manifest.metrics)
    assert not (bundle.path / "samples.png").exists()
    assert "show nobody" not in (bundle.path / "README.md").read_text()
    loaded, quick = bundle.build(), Evaluator(experiment.seed, data, CPU).quick
    found = compare(bundle, bundle, called="itself", storage=small.storage)
    assert found.verdict == "equal"
    assert set() < set(found.figures) <= FIGURES[kind]
    assert quick(loaded) == pytest.approx(quick(training.average.float()), rel=1e-6)


@pytest.mark.slow
def test_two_workers_train_each_toy_to_what_one_does(small: Experiment, data: PreparedDataset, tmp_path: Path) -> None:
    arguments = (small.model_dump_json(), str(data.path), str(tmp_path))

    start_processes(_train_as_one_of_two, arguments, nprocs=2, start_method="forkserver")

    for (index, toy), rank in itertools.product(enumerate(TOYS), range(2)):
        alone, _ = trained(experiment_of(small, toy), data, tmp_path / f"alone-{index}-{rank}")
        together = Training.start(experiment_of(small, toy), data.info.image, CPU)
        resume(together, tmp_path / f"kept-{index}-{rank}")
        for name, weight in alone.model.state_dict().items():
            torch.testing.assert_close(together.model.state_dict()[name], weight, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.usefixtures("one_thread")
def test_the_averaged_model_has_the_buffers_of_the_model(
    small: Experiment, data: PreparedDataset, tmp_path: Path, wider_manifest: None
) -> None:
    del wider_manifest
    experiment = experiment_of(small, CodesConfig())

    training, _ = trained(experiment, data, tmp_path)
    assert isinstance(training.model, Codes)
    usage = training.model.usage.clone()

    assert usage.sum() > 0
    assert torch.equal(dict(training.average.named_buffers())["usage"], usage)
    origin = finished(experiment, data, training, tmp_path / "bundle").manifest.provenance
    bundle = write_bundle(
        tmp_path / "again", experiment=experiment, model=training.average, metrics={}, provenance=origin
    )
    assert torch.equal(bundle.weights()["usage"], usage.float())


def test_masks_move_with_their_images(small: Experiment) -> None:
    turned = small.patched({"augment": {"flip": 0.5, "mirror": 0.5}})
    masks = torch.zeros(8, 16, 16, dtype=torch.uint8)
    masks[:, 2:5, 9:15] = 1
    batch = Batch(2.0 * masks[:, None] - 1, torch.zeros(8, dtype=torch.int64), masks)

    halves = [augmented(turned, 3, rows, batch[rows]) for rows in (slice(4), slice(4, 8))]

    moved = [half.masks for half in halves if half.masks is not None]
    assert torch.equal(torch.cat([half.images[:, 0] > 0 for half in halves]), torch.cat(moved) > 0)
    assert not torch.equal(torch.cat(moved), masks)


def test_a_dataset_that_lacks_what_a_model_learns_is_refused(
    toy: BaseModelConfig, small: Experiment, data: PreparedDataset
) -> None:
    experiment = experiment_of(small, toy)
    bare = data.info.model_copy(update={"image": data.info.image.model_copy(update={"classes": (), "masks": ()})})

    require_suitable(experiment, data)
    if isinstance(toy, CodesConfig):
        require_suitable(experiment, replace(data, info=bare))
        return
    with pytest.raises(DatasetError, match=r"have no (classes|masks), which a toy_\w+ learns; choose a source with"):
        require_suitable(experiment, replace(data, info=bare))


def test_a_dataset_names_the_regions_of_its_masks(data: PreparedDataset) -> None:
    assert data.info.image.masks == ("1",)


def _train_as_one_of_two(rank: int, small: str, dataset: str, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    workers, data = Workers(rank, 2), PreparedDataset.open(Path(dataset))
    for index, toy in enumerate(TOYS):
        experiment = experiment_of(Experiment.model_validate_json(small), toy)
        training, _ = trained(experiment, data, Path(folder) / f"together-{index}-{rank}", workers)
        keep(training, Path(folder) / f"kept-{index}-{rank}")
    distributed.destroy_process_group()
