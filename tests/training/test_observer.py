"""What the leading process does besides training: when it keeps a checkpoint, and what an evaluation may fail of."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from tests.training.recipes import CPU

from rayology.data import PreparedDataset
from rayology.errors import Diverged, OutOfMemory, RolledBack
from rayology.experiment import Experiment
from rayology.training.checkpoint import Checkpoints
from rayology.training.evaluation import Evaluator
from rayology.training.loop import Training
from rayology.training.worker import train_here


def test_a_checkpoint_of_the_clock_comes_between_evaluations_and_is_not_as_good_as_the_last_of_them(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, bool]] = []

    def save(_: Checkpoints, training: Training, *, loss: float) -> None:
        saved.append((training.step, math.isfinite(loss)))

    monkeypatch.setattr(Checkpoints, "save", save)  # when, and as how good; what it writes is tested where it is
    schedule = {"steps": 8, "evaluate_every": 4, "log_every": 2, "checkpoint_minutes": 1e-9}

    train_here(small.patched({"schedule": schedule}), data, tmp_path, report=lambda _: None, device=CPU)

    assert saved == [(2, False), (4, True), (6, False), (8, True)]


def test_an_evaluation_that_runs_out_of_memory_is_not_taken_for_a_step_that_does(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError  # only a GPU raises it

    monkeypatch.setattr(Evaluator, "quick", full)
    experiment = small.patched({"scaling": {"out_of_memory": "split"}})

    with pytest.raises(OutOfMemory, match="the evaluation after step 10 ran out of memory; choose a smaller model"):
        train_here(experiment, data, tmp_path, report=lambda _: None, device=CPU)

    assert not (tmp_path / "microbatches.json").exists()


def alike(monkeypatch: pytest.MonkeyPatch, similarities: Sequence[float]) -> None:
    """Have evaluations find samples so alike, in turn; real collapses come when they like."""
    found = iter(similarities)

    def quick(*_: object) -> Mapping[str, float]:
        similarity = next(found)
        return {"mmd": similarity, "diversity": similarity, "diversity/real": 0.4}

    monkeypatch.setattr(Evaluator, "quick", quick)


@pytest.mark.usefixtures("one_thread")
def test_samples_that_were_diverse_and_become_alike_end_the_training(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose samples were never diverse is still learning, and one evaluation alone tells nothing."""
    for index, similarities in enumerate([[0.99, 0.98, 0.99, 0.97], [0.5, 0.97, 0.97, 0.97], [0.5, 0.5, 0.97, 0.5]]):
        alike(monkeypatch, similarities)
        train_here(small, data, tmp_path / str(index), report=lambda _: None, device=CPU)

    alike(monkeypatch, [0.5, 0.5, 0.97, 0.97])
    with pytest.raises(
        Diverged, match=r"at step 40: samples have collapsed, two are alike to 0\.97 \(SSIM\) where real"
    ):
        train_here(small, data, tmp_path / "collapsed", report=lambda _: None, device=CPU)


@pytest.mark.usefixtures("one_thread")
def test_a_resumed_training_remembers_that_its_samples_were_diverse_and_may_roll_back(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolling = small.patched({"optimizer": {"divergence": "roll_back"}, "schedule": {"checkpoint_every": 5}})
    alike(monkeypatch, [0.5, 0.5, 0.97, 0.97])
    with pytest.raises(RolledBack, match=r"at step 40: samples have collapsed.* goes on from step 20 with half"):
        train_here(rolling, data, tmp_path, report=lambda _: None, device=CPU)

    alike(monkeypatch, [0.97, 0.97])
    with pytest.raises(Diverged, match="at step 40"):
        train_here(rolling, data, tmp_path, report=lambda _: None, device=CPU)
