"""Fixtures of the tests of training and what follows it."""

from collections.abc import Iterator
from multiprocessing import set_forkserver_preload

import pytest
import torch
from tests.kinds import name_of
from tests.training.recipes import ADAPTIVE, CODER, MODELS, SPEC, VOLUMES, experiment_of

from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import prepare
from rayology.experiment import Experiment
from rayology.image import ImageSpec


@pytest.fixture(scope="session", autouse=True)
def _read_torch_once() -> None:
    """Let the processes that tests start be forked from one that has read torch, which takes seconds."""
    set_forkserver_preload(["rayology.training.worker"])


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads for such small images wait for each other on a busy machine, many times as long as they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=MODELS, ids=name_of)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return experiment_of(request.param)


@pytest.fixture(
    params=[(model, SPEC) for model in MODELS]
    + [pytest.param((model, VOLUMES), marks=pytest.mark.slow) for model in (CODER, ADAPTIVE)],
    ids=lambda case: f"{name_of(case[0])}-{'x'.join(map(str, case[1].shape))}",
)
def case(request: pytest.FixtureRequest) -> tuple[Experiment, ImageSpec]:
    """Every model on images, and one of each kind on volumes."""
    model, spec = request.param
    return experiment_of(model).patched({"schedule": {"steps": 6 if spec is SPEC else 4}}), spec


@pytest.fixture(scope="session")
def volumes(small: Experiment) -> PreparedDataset:
    """Volumes of 24x24x24, each of which has more than three times the values of an image of 64x64."""
    preparation = PreparationConfig(size=24, cut=PatchesConfig(spacing_mm=7.5))
    return prepare(PhantomConfig(patients=12, slices=4, size=32), preparation, small.storage)
