"""The weights of a bundle from which a training starts: where they are found, and what they must fit."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from tests.kinds import SMALL_MODELS, name_of
from tests.training.recipes import finished

from rayology.bundle import Bundle, inference_weights
from rayology.data import PreparedDataset
from rayology.data.prepare import prepare
from rayology.errors import BundleError, ConfigError
from rayology.experiment import Experiment
from rayology.models import ModelConfig
from rayology.preflight import begin
from rayology.training.loop import Training
from rayology.training.run import _shapes, open_run, require_images
from rayology.training.worker import train_here

CPU = torch.device("cpu")


def bundle_of(experiment: Experiment, data: PreparedDataset, folder: Path) -> Bundle:
    training = Training.start(experiment, data.info.image, CPU)
    training.step = 1
    for weight in training.average.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return finished(experiment, data, training, folder / "bundle")


@pytest.fixture(scope="session")
def parent(small: Experiment, data: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(small, data, tmp_path_factory.mktemp("parent"))


@pytest.mark.usefixtures("one_thread")
def test_a_training_starts_from_a_bundles_weights_and_names_its_parent(
    small: Experiment, data: PreparedDataset, parent: Bundle, tmp_path: Path
) -> None:
    quick = {"schedule": {"steps": 1}, "optimizer": {"lr": 1e-30}, "storage": str(tmp_path)}
    experiment = small.patched({**quick, "init": {"model": str(parent.path)}})
    run = open_run(experiment, "runs")

    training = train_here(experiment, data, run.folder, report=lambda *_: None, device=CPU)
    bundle = finished(experiment, data, training, run.folder / "bundle")

    for name, weight in parent.weights().items():
        torch.testing.assert_close(bundle.weights()[name], weight)
    assert bundle.manifest.provenance.parents == (parent.fingerprint,)
    assert "init" not in bundle.manifest.experiment
    shutil.rmtree(run.folder / "init")
    shutil.rmtree(run.folder / "checkpoints")
    with pytest.raises(BundleError, match=r"init.model: no such folder"):
        train_here(experiment, data, run.folder, report=lambda *_: None, device=CPU)


@pytest.mark.usefixtures("one_thread")
def test_a_bundle_goes_on_learning_on_another_dataset_of_such_images(
    small: Experiment, data: PreparedDataset, parent: Bundle, tmp_path: Path
) -> None:
    other = prepare(small.source.patched({"seed": 7}), small.preparation, tmp_path)
    experiment = small.patched(
        {"schedule": {"steps": 1}, "storage": str(tmp_path), "init": {"model": str(parent.path)}}
    )
    run = open_run(experiment, "runs")

    training = train_here(experiment, other, run.folder, report=lambda *_: None, device=CPU)
    bundle = finished(experiment, other, training, run.folder / "bundle")

    origin = bundle.manifest.provenance
    assert (origin.dataset, origin.parents) == (other.info.fingerprint, (parent.fingerprint,))
    assert origin.dataset != data.info.fingerprint
    for name, weight in parent.weights().items():
        assert (bundle.weights()[name] - weight).abs().max() < 0.01, f"{name}: a step changes little"


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (
            {"latents": 64},
            "model.latents is 16 in the bundle, 64 in the model; write --model.latents 16",
        ),
        (
            {"encoder": {"width": 16}, "objective": {"beta": 3.0}},
            "model.encoder.width is 8 in the bundle, 16 in the model; write --model.encoder.width 8",
        ),
        (
            {"latents": 64, "conditional": False},
            "latents is 16 in the bundle, 64 in the model; model.conditional is true in the bundle, false in the model",
        ),
        (
            {"kind": "gan", "latents": 16},
            "model.kind is vae in the bundle, gan in the model; write --model.kind vae",
        ),
    ],
    ids=["latents", "network", "several", "kind"],
)
def test_a_bundle_of_another_architecture_is_refused_before_a_run_begins(
    small: Experiment, parent: Bundle, tmp_path: Path, model: dict[str, object], told: str
) -> None:
    start = {"storage": str(tmp_path), "init": {"model": str(parent.path)}}

    with pytest.raises(ConfigError, match=rf"^init\.model: the bundle does not fit .*{re.escape(told)}.*, or choose"):
        begin(small.patched({**start, "model": model}), "runs")

    assert not (tmp_path / "runs").exists()


def test_a_bundle_fits_a_model_that_differs_in_what_no_weight_depends_on(
    small: Experiment, parent: Bundle, tmp_path: Path
) -> None:
    start = {"storage": str(tmp_path), "init": {"model": str(parent.path)}}

    assert open_run(small.patched({**start, "model": {"objective": {"beta": 3.0}}}), "runs").folder.exists()


@pytest.mark.parametrize("model", SMALL_MODELS, ids=name_of)
def test_the_shapes_of_weights_are_known_without_their_memory(model: ModelConfig, data: PreparedDataset) -> None:
    weights = inference_weights(model.build(data.info.image))

    assert _shapes(model, data.info.image) == {name: weight.shape for name, weight in weights.items()}


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ({"size": [32, 32]}, "preparation.size is [16, 16] in the bundle, [32, 32] in the dataset"),
        ({"values": {"low": -500.0}}, "preparation.window.low is -1000.0 in the bundle, -500.0 in the dataset"),
        ({"channels": 3}, "channels is 1 in the bundle, 3 in the dataset"),
        (
            {"classes": ["a"]},
            'classes is ["consolidation", "effusion", "nodule"] in the bundle, ["a"] in the dataset',
        ),
    ],
)
def test_a_bundle_of_other_images_is_refused_with_what_differs(
    parent: Bundle, data: PreparedDataset, image: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=rf": {re.escape(told)}; prepare such images, or choose another bundle$"):
        require_images(parent, data.info.image.patched(image))


def test_a_bundle_fits_images_that_differ_in_what_no_weight_depends_on(parent: Bundle, data: PreparedDataset) -> None:
    require_images(parent, data.info.image.patched({"masks": ["nodule"]}))


def test_what_a_run_starts_from_must_be_there_and_have_a_role(small: Experiment, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a vae has no role first_stage; write one of: model"):
        small.patched({"init": {"first_stage": "champion"}})
    for place in ("nowhere", "nobody/20200101-000000-00000000"):
        with pytest.raises(ConfigError, match=f"init.model: {place} is neither a folder nor a model of the store"):
            open_run(small.patched({"storage": str(tmp_path), "init": {"model": place}}), "runs")
    with pytest.raises(ConfigError, match="a sweep searches architectures"):
        open_run(small.patched({"storage": str(tmp_path), "init": {"model": "nowhere"}}), "sweeps")
    assert not list(tmp_path.glob("*/*"))
