"""The history of a training on a storage that comes and goes."""

import logging
from pathlib import Path

import pytest
from tensorboardX.record_writer import RecordWriter

from rayology.training import history
from rayology.training.history import History, read


def test_lines_wait_while_the_storage_is_gone_and_none_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, away = tmp_path / "run", tmp_path / "away"
    caplog.set_level(logging.INFO, "rayology")
    with History(folder) as kept:
        kept.write(1, {"loss": 3.0})
        folder.rename(away)
        kept.write(2, {"loss": 2.0})
        kept.write(3, {"loss": 1.0})
        away.rename(folder)
        kept.write(4, {"loss": 0.0})

    assert [line["step"] for line in read(folder)] == [1, 2, 3, 4]
    assert caplog.messages == [
        "The history could not be written (No such file or directory); training goes on.",
        "The history is written again, up to step 4.",
    ]


def test_a_full_disk_costs_pictures_for_people_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: no test may fill a real one."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "SECONDS_BETWEEN_FLUSHES", 0)
    with History(tmp_path) as kept:
        kept.write(1, {"loss": 1.0})
        with monkeypatch.context() as full:
            full.setattr(RecordWriter, "flush", refuse)
            kept.write(2, {"loss": 1.0})
        kept.write(3, {"loss": 1.0})

    assert len(list(read(tmp_path))) == 3
    assert len(list(tmp_path.glob("tensorboard/*"))) == 2, "a new file begins after what may be torn"
