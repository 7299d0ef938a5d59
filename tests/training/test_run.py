"""A run on disk: what it goes on with, and what it starts from."""

import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.errors import BundleError, ConfigError
from rayology.experiment import Experiment
from rayology.training.loop import Training
from rayology.training.run import finish, open_run, start_from, train_here

CPU = torch.device("cpu")
OLD_RUN = Path(__file__).parents[1] / "fixtures" / "format_1" / "run"


def bundle_of(experiment: Experiment, data: PreparedDataset, folder: Path) -> Bundle:
    training = Training.start(experiment, data.info.image, CPU)
    training.step = 1
    for weight in training.average.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return finish(experiment, data, training, folder / "bundle")


@pytest.fixture(scope="session")
def parent(small: Experiment, data: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(small, data, tmp_path_factory.mktemp("parent"))


def test_a_run_goes_on_with_the_experiment_that_it_began_with(small: Experiment, tmp_path: Path) -> None:
    begun = open_run(small.patched({"storage": str(tmp_path), "seed": 7}), "runs")

    resumed = open_run(Experiment(storage=tmp_path, resume="last"), "runs")

    assert resumed.folder == begun.folder
    assert resumed.experiment == begun.experiment
    assert (begun.folder / "experiment.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("kind", "mark"), [("runs", "bundle"), ("sweeps", "sweep.txt")])
def test_a_job_that_is_submitted_again_goes_on_with_its_run_until_that_ended(
    kind: Literal["runs", "sweeps"], mark: str, small: Experiment, tmp_path: Path
) -> None:
    asked = small.patched({"storage": str(tmp_path), "resume": "auto"})
    (tmp_path / kind / "damaged").mkdir(parents=True)
    (tmp_path / kind / "damaged" / "experiment.json").touch()

    first, other, again = (open_run(each, kind) for each in (asked, asked.patched({"seed": 7}), asked))
    (first.folder / mark).touch()
    after = open_run(asked, kind)

    assert again.folder == first.folder
    assert (first.is_resumed, again.is_resumed, after.is_resumed) == (False, True, False)
    assert len({first.folder, other.folder, after.folder}) == 3
    assert again.experiment == first.experiment


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format_version": 3}', '{"format_version": 3, "experiment": {"x": 1}}']
)
def test_a_run_that_another_version_began_or_that_is_damaged_is_refused_in_one_line(
    damage: str, tmp_path: Path
) -> None:
    shutil.copytree(OLD_RUN, tmp_path / "runs" / "old")
    if damage:
        (tmp_path / "runs" / "old" / "experiment.json").write_text(damage)

    with pytest.raises(ConfigError, match="start it anew, with its YAML file and flags") as refusal:
        open_run(Experiment(storage=tmp_path, resume="old"), "runs")

    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("one_thread")
def test_a_training_starts_from_a_bundles_weights_and_names_its_parent(
    small: Experiment, data: PreparedDataset, parent: Bundle, tmp_path: Path
) -> None:
    quick = {"schedule": {"steps": 1}, "optimizer": {"lr": 1e-30}, "storage": str(tmp_path)}
    experiment = small.patched({**quick, "init": {"model": str(parent.path)}})
    run = open_run(experiment, "runs")

    training = train_here(experiment, data, run.folder, report=lambda *_: None, device=CPU)
    bundle = finish(experiment, data, training, run.folder / "bundle")

    for name, weight in parent.weights().items():
        torch.testing.assert_close(bundle.weights()[name], weight)
    assert bundle.manifest.provenance.parents == (parent.fingerprint,)
    assert "init" not in bundle.manifest.experiment
    shutil.rmtree(run.folder / "init")
    shutil.rmtree(run.folder / "checkpoints")
    with pytest.raises(BundleError, match=r"init.model: no such folder"):
        train_here(experiment, data, run.folder, report=lambda *_: None, device=CPU)


def test_a_bundle_of_another_architecture_or_other_images_is_no_start(
    small: Experiment, data: PreparedDataset, parent: Bundle
) -> None:
    other = Training.start(small.patched({"model": {"latents": 64}}), data.info.image, CPU)
    with pytest.raises(ConfigError, match=r"init.model: the bundle's weights do not fit the experiment's model"):
        start_from(other, parent)

    renamed = data.info.image.patched({"classes": ["a", "b", "c"]})
    with pytest.raises(ConfigError, match=r"init.model: the bundle is of images of"):
        start_from(Training.start(small, renamed, CPU), parent)


def test_what_a_run_starts_from_must_be_there_and_have_a_role(small: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a vae has no role first_stage; write one of: model"):
        small.patched({"init": {"first_stage": "champion"}})
    for place in ("nowhere", "nobody/20200101-000000-00000000"):
        with pytest.raises(ConfigError, match=f"init.model: {place} is neither a folder nor a model of the store"):
            open_run(small.patched({"storage": str(tmp_path), "init": {"model": place}}), "runs")
    with pytest.raises(ConfigError, match="a sweep searches architectures"):
        open_run(small.patched({"storage": str(tmp_path), "init": {"model": "nowhere"}}), "sweeps")
    assert not list(tmp_path.glob("*/*"))
