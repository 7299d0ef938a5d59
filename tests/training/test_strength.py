"""The strength of adaptive augmentation while a GAN trains."""

import pytest
import torch
from tests.training.recipes import CPU, SMALL, SPEC, batches, ignore

from rayology.experiment import Experiment, ScalingConfig, ScheduleConfig
from rayology.image import Batch
from rayology.models import GanConfig, Generates
from rayology.models.adaptive import AdaptiveConfig
from rayology.noise import indexed_noise
from rayology.training.loop import Batches, Training, fit

EIGHT = Experiment(
    model=GanConfig(generator=SMALL, critic=SMALL, adaptive=AdaptiveConfig(translate=0.8, ramp_images=80)),
    schedule=ScheduleConfig(steps=12, batch_size=8, warmup_steps=2, log_every=1),
    scaling=ScalingConfig(precision="float64"),
)


def test_the_strength_rises_where_the_critic_learns_its_real_images_by_heart() -> None:
    strengths = _strengths(EIGHT, lambda _, rows: batches(0, rows))

    assert strengths[0] == 0.0
    assert max(strengths) >= 0.5


@pytest.mark.slow
def test_the_strength_stays_at_0_where_the_real_images_are_the_generators_own() -> None:
    still = EIGHT.patched({"optimizer": {"lr": 1e-12}, "schedule": {"batch_size": 32}})
    model = Training.start(still, SPEC, CPU).model
    assert isinstance(model, Generates)

    def own(step: int, rows: slice) -> Batch:
        noise = indexed_noise(model.sample_noise(), seed=step, indices=range(32))
        labels = torch.arange(32) % 2
        return Batch(model.sample({"latent": noise["latent"].double()}, labels).detach(), labels)[rows]

    assert set(_strengths(still, own)) == {0.0}


def _strengths(experiment: Experiment, batches: Batches) -> list[float]:
    """Train, and return the strength at each step."""
    strengths: list[float] = []
    fit(
        experiment,
        Training.start(experiment, SPEC, CPU),
        batches,
        log=lambda _, figures: strengths.append(figures["critic/strength"]),
        evaluate=ignore,
        checkpoint=ignore,
    )
    return strengths
