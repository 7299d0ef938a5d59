"""A training that is asked to end: where it ends, and that nothing of it is lost."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.training.recipes import CPU, assert_same
from torch import distributed

from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.training import stopping
from rayology.training.checkpoint import newest_step
from rayology.training.gradients import Workers
from rayology.training.stopping import ask_to_stop, stoppable
from rayology.training.worker import train_here


def test_a_training_that_was_asked_to_stop_ends_after_its_step_and_resumes_as_if_it_was_not(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SECONDS_BETWEEN_LOOKS", 0)
    short = small.patched({"schedule": {"steps": 12, "evaluate_every": 4}})
    folders = [tmp_path / name for name in ("stopped", "untouched")]
    for folder in folders:
        folder.mkdir()

    def stop(_: Mapping[str, float]) -> None:
        assert ask_to_stop(folders[0])

    stopped = train_here(short, data, folders[0], report=stop, device=CPU)
    resumed = train_here(short, data, folders[0], report=lambda _: None, device=CPU)
    untouched = train_here(short, data, folders[1], report=lambda _: None, device=CPU)

    assert (stopped.step, resumed.step) == (5, 12)
    assert_same(resumed, untouched)
    assert not ask_to_stop(folders[0])


def test_a_training_whose_machine_is_leaving_ends_after_its_step_with_a_checkpoint(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SECONDS_BETWEEN_LOOKS", 0)
    notices = iter([False, False, True])

    stopped = train_here(small, data, tmp_path, report=lambda _: None, device=CPU, is_leaving=lambda: next(notices))

    assert stopped.step == newest_step(tmp_path / "checkpoints") == 3


def test_all_processes_end_when_the_leading_one_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "SECONDS_BETWEEN_LOOKS", 0)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)

    with stoppable(tmp_path, Workers(0, 2)) as is_asked, stoppable(tmp_path, Workers(1, 2)) as follows:
        ask_to_stop(tmp_path)
        assert is_asked()
        assert not follows()
    distributed.destroy_process_group()


def test_a_storage_that_is_read_only_at_the_end_does_not_fail_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with stoppable(tmp_path, Workers()) as is_asked:
        assert not is_asked()
        monkeypatch.setattr(Path, "unlink", refuse)
