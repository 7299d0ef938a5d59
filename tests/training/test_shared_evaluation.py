"""What two processes share: an evaluation has the figures of one, and an error is the same for both."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tests.training.recipes import CPU, SMALL, ignore
from torch import Tensor, distributed
from torch.multiprocessing.spawn import start_processes

from rayology.data import PreparedDataset
from rayology.errors import Diverged, OutOfMemory
from rayology.experiment import Experiment
from rayology.models import GanConfig, Model, ModelConfig, VaeConfig
from rayology.models.vae import Vae
from rayology.training import evaluation
from rayology.training.evaluation import Evaluator
from rayology.training.gradients import ALONE, Workers
from rayology.training.loop import Training
from rayology.training.worker import finish, train_here

TOO_LARGE = {
    "schedule": {"batch_size": 2**20},
    "scaling": {"num_workers": 2, "precision": "float64"},
    "model": {"encoder": {"width": 64}, "decoder": {"width": 64}},
}


def model_of(config: ModelConfig, data: PreparedDataset) -> Model:
    model = config.build(data.info.image).eval()
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():  # an untrained network draws a flat image
        torch.nn.init.normal_(weight, std=0.1, generator=generator)
    return model


def figures_of(data: PreparedDataset, workers: Workers = ALONE) -> list[Mapping[str, float]]:
    evaluator = Evaluator(0, data, CPU, workers=workers)
    models = [
        model_of(config, data)
        for config in (VaeConfig(encoder=SMALL, decoder=SMALL), GanConfig(generator=SMALL, critic=SMALL))
    ]
    return [figures for model in models for figures in (evaluator.quick(model), evaluator.full(model))]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_share_an_evaluation_whose_figures_are_the_bits_of_one_and_fail_alike(
    data: PreparedDataset, small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MOST_AT_ONCE", 2)  # a constant; the images are few
    alone = figures_of(data)

    arguments = (small.model_dump_json(), str(data.path), str(tmp_path))
    start_processes(_evaluate_as_one_of_two, arguments, nprocs=2, start_method="forkserver")

    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["figures"] == alone
    assert not any(second["figures"])
    assert min(first["passed"], second["passed"]) > 0.4 * (first["passed"] + second["passed"])
    assert first["said"] == second["said"]
    not_finite, out_of_memory, does_not_fit = first["said"]
    assert "at step 0: samples hold values that are not finite" in not_finite
    assert out_of_memory == "the evaluation after step 0 ran out of memory; choose a smaller model"
    assert re.search(r"and a worker has [\d.]+; write schedule\.batch_size \d+, or", does_not_fit)


def test_more_processes_than_parts_have_nothing_to_pass() -> None:
    shares = [range(40)[Workers(rank, 3).rows(40, 32)] for rank in range(3)]

    assert shares == [range(32), range(32, 40), range(40, 40)]


def _evaluate_as_one_of_two(rank: int, small: str, dataset: str, folder: str) -> None:
    torch.set_num_threads(1)
    evaluation.MOST_AT_ONCE = 2
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    workers, data = Workers(rank, 2), PreparedDataset.open(Path(dataset))
    passed, reconstruct = [0], Vae.reconstruct

    def counted(model: Vae, images: Tensor, labels: Tensor) -> Tensor:
        passed[0] += len(images)
        return reconstruct(model, images, labels)

    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError  # only a GPU raises it

    Vae.reconstruct = counted  # type: ignore[assignment,method-assign] # in this process alone
    found = {"figures": figures_of(data, workers), "passed": passed[0]}

    training = Training.start(Experiment.model_validate_json(small), data.info.image, CPU)
    weights = [weight.clone() for weight in training.average.parameters()]
    said = []
    for weight in training.average.parameters():
        weight.fill_(torch.nan)
    with pytest.raises(Diverged) as diverged:
        finish(Experiment.model_validate_json(small), data, training, Path(folder) / "bundle", workers)
    said.append(str(diverged.value))
    for weight, before in zip(training.average.parameters(), weights, strict=True):
        weight.copy_(before)
    if rank == 1:
        Vae.reconstruct = full  # type: ignore[assignment,method-assign] # as above
    with pytest.raises(OutOfMemory) as memory:
        finish(Experiment.model_validate_json(small), data, training, Path(folder) / "bundle", workers)
    assert memory.value.in_all
    said.append(str(memory.value))
    with pytest.raises(OutOfMemory) as memory:
        train_here(
            Experiment.model_validate_json(small).patched(TOO_LARGE),
            data,
            Path(folder),
            report=ignore,
            device=CPU,
            workers=workers,
        )
    assert memory.value.in_all
    said.append(str(memory.value))
    (Path(folder) / f"{rank}.json").write_text(json.dumps({**found, "said": said}))
    distributed.destroy_process_group()
