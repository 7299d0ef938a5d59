"""Fixtures of the tests of training and what follows it."""

from collections.abc import Iterator

import pytest
import torch
from tests.kinds import name_of
from tests.training.recipes import MODELS, SPEC, VOLUMES

from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import prepare
from rayology.experiment import Experiment, ScalingConfig, ScheduleConfig
from rayology.image import ImageSpec


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads for such small images wait for each other on a busy machine, many times as long as they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=MODELS, ids=name_of)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return Experiment(
        model=request.param,
        schedule=ScheduleConfig(steps=6, batch_size=8, warmup_steps=2, evaluate_every=3, log_every=2),
        scaling=ScalingConfig(precision="float64"),
    )


@pytest.fixture(params=[SPEC, pytest.param(VOLUMES, marks=pytest.mark.slow)], ids=["images", "volumes"])
def spec(request: pytest.FixtureRequest) -> ImageSpec:
    spec: ImageSpec = request.param
    return spec


@pytest.fixture(scope="session")
def volumes(small: Experiment) -> PreparedDataset:
    """Volumes of 24x24x24, each of which has more than three times the values of an image of 64x64."""
    preparation = PreparationConfig(size=24, cut=PatchesConfig(spacing_mm=7.5))
    return prepare(PhantomConfig(patients=12, slices=4, size=32), preparation, small.storage)
