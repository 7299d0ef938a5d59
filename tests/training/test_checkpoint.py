"""Checkpoints: what they hold, which are kept, and which are passed over."""

import logging
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.recipes import CPU, SPEC, assert_same, batches_of, ignore, keep, resume, trained_before

from rayology.atomic import write_atomic
from rayology.errors import TrainingError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.training import checkpoint
from rayology.training.checkpoint import Checkpoints, newest, newest_step, restore
from rayology.training.loop import Training, fit


@pytest.fixture
def training(small: Experiment) -> Training:
    return Training.start(small, SPEC, CPU)


def steps_in(folder: Path) -> list[int]:
    return sorted(int(file.name.split("-")[1]) for file in folder.iterdir())


def keep_each(training: Training, folder: Path, losses: dict[int, float], *, every: int | None = None) -> None:
    """Keep a checkpoint after each of some steps, none of which is skipped for the one before."""
    for step, loss in losses.items():
        training.step = step
        with Checkpoints(folder, keep_every=every) as checkpoints:
            checkpoints.save(training, loss=loss)


def test_a_training_resumed_from_a_checkpoint_ends_with_the_same_bits(
    case: tuple[Experiment, ImageSpec], tmp_path: Path
) -> None:
    """And so with the same bits as another training with its seed."""
    experiment, spec = case

    begun, resumed = Training.start(experiment, spec, CPU), Training.start(experiment.patched({"seed": 5}), spec, CPU)

    fit(
        experiment,
        begun,
        batches_of(spec),
        log=ignore,
        evaluate=ignore,
        checkpoint=partial(keep, folder=tmp_path),
        is_asked_to_stop=lambda: begun.step == 3,
    )
    resume(resumed, tmp_path)
    fit(experiment, resumed, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=ignore)

    assert begun.step == 3
    assert resumed.step == experiment.schedule.steps
    assert_same(resumed, trained_before(experiment, spec=spec))


def test_what_is_saved_is_the_state_of_that_moment(experiment: Experiment, tmp_path: Path) -> None:
    """Training goes on, in place, while a checkpoint is written."""
    training, same = (Training.start(experiment, SPEC, CPU) for _ in range(2))

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(training)
        for weight in training.model.parameters():
            weight.data.zero_()

    resume(training, tmp_path)
    assert_same(training, same)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_anywhere_is_noticed_and_the_checkpoint_before_is_taken(
    seed: int, training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_each(training, tmp_path, {1: 1.0, 2: 1.0})
    last = newest(tmp_path)
    assert last is not None
    content = bytearray(last.read_bytes())
    place, bit = np.random.default_rng(seed).integers([len(content), 8])
    content[place] ^= 1 << bit
    last.write_bytes(content)

    resume(training, tmp_path)

    assert training.step == 1
    assert "step 2 is damaged" in caplog.text


def test_damaged_checkpoints_take_no_place_of_those_that_follow(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_each(training, tmp_path, {25: 1.0, 30: 1.0})
    for file in list(tmp_path.iterdir()):
        file.write_bytes(file.read_bytes()[:-1] + b"!")

    assert newest(tmp_path) is None
    assert "No checkpoint is left to go on from: the training starts again from its first step" in caplog.text
    keep_each(training, tmp_path, {5: 1.0, 10: 1.0})

    last = newest(tmp_path)
    assert last is not None
    assert (newest_step(tmp_path), "step-000000010" in last.name) == (10, True)
    assert len(list(tmp_path.glob("*.damaged"))) == 2


def test_a_checkpoint_that_cannot_be_read_now_stays_where_it_is(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(training, tmp_path)
    (tmp_path / f"step-000000009-{'0' * 64}.safetensors").mkdir()  # a read error for anybody

    assert newest(tmp_path) is not None
    assert "The checkpoint of step 9 cannot be read (Is a directory)" in caplog.text


def test_earlier_checkpoints_that_cannot_be_removed_cost_a_warning(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"step-000000000-{'0' * 64}.safetensors").mkdir()  # no file to remove
    keep_each(training, tmp_path, {1: 1.0, 2: 1.0})

    assert "Step 2: earlier checkpoints could not be removed" in caplog.text


def test_a_torn_checkpoint_is_passed_over(training: Training, tmp_path: Path) -> None:
    keep_each(training, tmp_path, {1: 1.0, 2: 1.0})
    last = newest(tmp_path)
    assert last is not None
    last.write_bytes(last.read_bytes()[:100])

    resume(training, tmp_path)

    assert training.step == 1
    keep_each(training, tmp_path, {3: 2.0})
    assert steps_in(tmp_path) == [1, 2, 3]  # a torn one is not the best


def test_a_folder_of_damaged_checkpoints_has_none(training: Training, tmp_path: Path) -> None:
    keep(training, tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"")

    assert newest(tmp_path) is None
    assert newest(tmp_path / "none yet") is None


def test_the_newest_two_the_best_and_every_nth_are_kept(training: Training, tmp_path: Path) -> None:
    losses = {10: 3.0, 20: 1.0, 30: 2.0, 40: 2.0, 50: 2.0, 60: 2.0, 70: 2.0}

    keep_each(training, tmp_path / "some", losses)
    keep_each(training, tmp_path / "more", losses, every=40)

    assert steps_in(tmp_path / "some") == [20, 60, 70]
    assert steps_in(tmp_path / "more") == [20, 40, 60, 70]


def test_a_checkpoint_that_cannot_be_written_costs_a_warning_and_none_that_is_there(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: no test may fill a real one."""
    keep(training, tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_atomic", refuse)
    training.step = 5
    keep(training, tmp_path)

    assert steps_in(tmp_path) == [0]
    assert "Step 5: its checkpoint could not be written (No space left on device); training goes on." in caplog.text


def test_nothing_is_written_in_place_of_a_storage_that_is_gone(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a file system was mounted, another one is below."""
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(training)

    assert not list(tmp_path.iterdir())
    assert "could not be written (No such file or directory); training goes on" in caplog.text


def test_what_is_not_the_storages_fault_ends_the_training(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(checkpoint, "write_atomic", fail)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(training)
    while not checkpoints._writing[0].done():
        time.sleep(0.001)
    with pytest.raises(ValueError, match="of ours"):
        checkpoints.save(training)
    with pytest.raises(ValueError, match="of ours"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(training)


def test_checkpoints_are_sorted_by_their_steps_however_many_there_are(training: Training, tmp_path: Path) -> None:
    keep_each(training, tmp_path, {999_999_999: 1.0, 1_000_000_000: 1.0})

    assert newest_step(tmp_path) == 1_000_000_000
    assert newest_step(tmp_path / "none yet") == 0


def test_training_does_not_wait_for_a_slow_storage_which_gets_the_newest_state_in_the_end(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that answers when it is told to; real ones are slow by chance."""
    is_asked, answers = threading.Event(), threading.Event()

    def write_late(file: Path, content: bytes) -> None:
        is_asked.set()
        answers.wait()
        write_atomic(file, content)

    monkeypatch.setattr(checkpoint, "write_atomic", write_late)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(training)
        is_asked.wait()
        for training.step in (5, 6, 7):
            checkpoints.save(training)
        answers.set()

    assert steps_in(tmp_path) == [0, 7]


def test_what_a_killed_process_left_is_cleared_away(training: Training, tmp_path: Path) -> None:
    (tmp_path / ".0123.part").write_bytes(b"half")

    keep(training, tmp_path)

    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


def test_a_resume_under_another_number_of_threads_is_said(
    training: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(training, tmp_path)
    resume(training, tmp_path)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    resume(training, tmp_path)

    assert "Results may differ in their last bits from step 0 on: threads " in caplog.text
    assert ", now 99." in caplog.text


def test_a_checkpoint_of_another_model_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    keep(Training.start(experiment, SPEC, CPU), tmp_path)
    other = Training.start(experiment, ImageSpec(size=(16, 16), channels=2), CPU)

    with pytest.raises(TrainingError, match="no checkpoint of this experiment's model"):
        resume(other, tmp_path)


def test_a_checkpoint_of_another_dataset_is_refused(training: Training, tmp_path: Path) -> None:
    with Checkpoints(tmp_path, dataset="one") as checkpoints:
        checkpoints.save(training)
    file = newest(tmp_path)
    assert file is not None

    restore(training, file, dataset="one")
    with pytest.raises(TrainingError, match="was trained on another dataset; put the source's files back"):
        restore(training, file, dataset="other")


def test_a_file_that_is_not_a_checkpoint_is_refused(training: Training, tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="no checkpoint"):
        restore(training, tmp_path / "torn.safetensors")
    with pytest.raises(TrainingError, match=r"cannot be read .*; see that every node sees the storage"):
        restore(training, tmp_path / "none.safetensors")
