"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.experiment import Experiment, ScheduleConfig, SearchConfig
from rayology.models import VaeConfig
from rayology.models.backbones import ResNetConfig

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("RAYOLOGY_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set RAYOLOGY_DATA")
    return folder


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="session")
def small(storage: Path) -> Experiment:
    """An experiment that trains in a second."""
    return Experiment(
        name="small",
        storage=storage,
        source=PhantomConfig(patients=12, slices=4, size=32),
        preparation=PreparationConfig(size=16),
        model=VaeConfig(backbone=ResNetConfig(width=8), latents=16),
        schedule=ScheduleConfig(steps=40, batch_size=8, evaluate_every=10, log_every=5, warmup_steps=5),
        search=SearchConfig(num_trials=3, startup_trials=2, grace_steps=10),
    )


@pytest.fixture(scope="session")
def data(small: Experiment) -> PreparedDataset:
    return prepare(small.source, small.preparation, small.storage)
