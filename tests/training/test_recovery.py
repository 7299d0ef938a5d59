"""A training that diverged goes on once, more slowly, if it is asked to."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rayology.data import PreparedDataset
from rayology.errors import Diverged, TrainingError
from rayology.experiment import Experiment
from rayology.image import Batch
from rayology.training import worker
from rayology.training.history import read
from rayology.training.loop import Training
from rayology.training.worker import train_here

CPU = torch.device("cpu")
BROKEN = 25  # the first step whose images are not finite


def trained(experiment: Experiment, data: PreparedDataset, folder: Path) -> Training:
    return train_here(experiment, data, folder, report=lambda _: None, device=CPU)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def images(_: Experiment, step: int, __: slice, batch: Batch) -> Batch:
        return replace(batch, images=batch.images * torch.nan) if step >= BROKEN else batch

    monkeypatch.setattr(worker, "augmented", images)  # real ones diverge when they like


@pytest.mark.usefixtures("one_thread", "broken")
def test_a_training_that_diverges_ends_unless_it_may_roll_back(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match=r"vae/distortion is nan at step 25; lower optimizer\.lr"):
        trained(small, data, tmp_path)
    with pytest.raises(Diverged):
        trained(small, data, tmp_path)


@pytest.mark.usefixtures("one_thread", "broken")
def test_a_training_that_may_roll_back_does_so_once(small: Experiment, data: PreparedDataset, tmp_path: Path) -> None:
    rolling = small.patched({"optimizer": {"divergence": "roll_back"}})
    with pytest.raises(TrainingError, match=r"at step 25; .*goes on from step 20 with half the"):
        trained(rolling, data, tmp_path)

    with pytest.raises(Diverged, match="at step 25"):
        trained(rolling, data, tmp_path)


@pytest.mark.usefixtures("one_thread")
def test_a_training_that_was_rolled_back_goes_on_from_its_last_checkpoint_at_half_the_rate(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on in the same way each time it is resumed."""
    rolling = small.patched({"optimizer": {"divergence": "roll_back"}})
    with monkeypatch.context() as patch:
        patch.setattr(
            worker,
            "augmented",
            lambda _, step, __, batch: replace(batch, images=batch.images * (1 if step < 25 else torch.nan)),
        )
        with pytest.raises(TrainingError):
            trained(rolling, data, tmp_path)

    assert trained(rolling, data, tmp_path).step == 40

    rates = {line["step"]: line["lr"] for line in read(tmp_path) if "lr" in line}
    assert rates[20] == small.optimizer.lr
    assert rates[25] == small.optimizer.lr / 2
