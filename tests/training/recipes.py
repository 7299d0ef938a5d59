"""Small trainings on random images, and what is the same of two of them."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import torch
from tests.kinds import SMALL_MODELS
from torch import Tensor

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.experiment import Experiment, ScalingConfig, ScheduleConfig
from rayology.image import Batch, ImageSpec
from rayology.models import GanConfig, ModelConfig, VaeConfig
from rayology.models.adaptive import AdaptiveConfig
from rayology.models.adversarial import ZeroCentredConfig
from rayology.models.backbones import ResNetConfig
from rayology.training.checkpoint import Checkpoints, newest, restore
from rayology.training.gradients import ALONE, Workers
from rayology.training.loop import Batches, Training, fit
from rayology.training.run import BUNDLE, Run
from rayology.training.worker import finish, train_here

SPEC = ImageSpec(size=(16, 16), classes=("a", "b"))
SMALL = ResNetConfig(width=8)
EAGER = AdaptiveConfig(rotate=0.8, intensity=0.8, noise=0.8, target=-0.1, ramp_images=64)
FADING = ZeroCentredConfig(decay=0.1)
ADAPTIVE = GanConfig(generator=SMALL, critic=SMALL, adaptive=EAGER, early_beta2=0.9, regulariser=FADING)
CODER = VaeConfig(encoder=SMALL, decoder=SMALL)
MODELS = [*SMALL_MODELS, ADAPTIVE]
CPU = torch.device("cpu")
VOLUMES = ImageSpec(size=(16, 16, 16), classes=("a", "b"))


def experiment_of(model: ModelConfig) -> Experiment:
    return Experiment(
        model=model,
        schedule=ScheduleConfig(steps=6, batch_size=8, warmup_steps=2, evaluate_every=3, log_every=2),
        scaling=ScalingConfig(precision="float64"),
    )


def images_of(spec: ImageSpec) -> Tensor:
    return torch.rand(40, *spec.shape, generator=torch.Generator().manual_seed(0)).double() * 2 - 1


def batches_of(spec: ImageSpec) -> Batches:
    images = images_of(spec)

    def draw(step: int, rows: slice) -> Batch:
        chosen = (torch.arange(8) + 8 * step)[rows] % len(images)
        return Batch(images[chosen], chosen % 2)

    return draw


IMAGES, batches = images_of(SPEC), batches_of(SPEC)


def ignore(*_: object) -> None:
    """Take what is reported and drop it."""


def into(logged: dict[int, Mapping[str, float]]) -> Callable[[Training, Mapping[str, float]], None]:
    return lambda training, figures: logged.__setitem__(training.step, figures)


def keep(training: Training, folder: Path) -> None:
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(training)


def resume(training: Training, folder: Path) -> None:
    file = newest(folder)
    assert file is not None
    restore(training, file)


def trained(experiment: Experiment, workers: Workers = ALONE, *, spec: ImageSpec = SPEC) -> Training:
    training = Training.start(experiment, spec, CPU)
    fit(experiment, training, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=ignore, workers=workers)
    return training


def trained_before(experiment: Experiment, *, spec: ImageSpec = SPEC) -> Training:
    """Return what came of a training when it was asked for first; it must not be changed."""
    return _trained_once(experiment.model_dump_json(), spec)


@cache
def _trained_once(experiment: str, spec: ImageSpec) -> Training:
    return trained(Experiment.model_validate_json(experiment), spec=spec)


def finished(experiment: Experiment, data: PreparedDataset, training: Training, path: Path) -> Bundle:
    bundle = finish(experiment, data, training, path)
    assert bundle is not None
    return bundle


def train_alone(run: Run, data: PreparedDataset) -> Bundle:
    """Train to the end in this process, as a single worker does in its own."""
    training = train_here(run.experiment, data, run.folder, report=ignore, device=CPU)
    return finished(run.experiment, data, training, run.folder / BUNDLE)


def assert_same(training: Training, other: Training, *, tolerance: float = 0.0) -> None:
    for mine, others in ((training.model, other.model), (training.average, other.average)):
        for name, weight in mine.state_dict().items():
            torch.testing.assert_close(weight, others.state_dict()[name], rtol=tolerance, atol=tolerance, msg=name)
