"""Fixtures of the tests of training and what follows it."""

from collections.abc import Iterator

import pytest
import torch

from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import prepare
from rayology.experiment import Experiment


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads for such small images wait for each other on a busy machine, many times as long as they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def volumes(small: Experiment) -> PreparedDataset:
    """Volumes of 24x24x24, each of which has more than three times the values of an image of 64x64."""
    preparation = PreparationConfig(size=24, cut=PatchesConfig(spacing_mm=7.5))
    return prepare(PhantomConfig(patients=12, slices=4, size=32), preparation, small.storage)
