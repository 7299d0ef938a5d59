"""What a replica logs reaches stderr whole, in order, and soon."""

import logging
import time
from collections.abc import Iterator

import pytest

from rayology.serving import logs

logger = logging.getLogger("rayology.test")


@pytest.fixture(autouse=True)
def _gathering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ours = logging.getLogger("rayology")
    before = ours.handlers, ours.propagate, ours.level
    monkeypatch.setattr(logs, "GATHERED_S", 0.3)
    logs.log_to_stderr()
    yield
    ours.handlers, ours.propagate = before[:2]
    ours.setLevel(before[2])


def test_lines_are_gathered_and_then_written(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        logger.info("line %d", number)
    written, deadline = "", time.monotonic() + 10

    assert not capsys.readouterr().err
    while written.count("\n") < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
        written += capsys.readouterr().err

    assert [line.rpartition(" -- ")[2] for line in written.splitlines()] == ["line 0", "line 1", "line 2"]


def test_an_error_is_written_at_once_after_what_came_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    logger.info("answered")
    logger.error("damaged")

    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["INFO", "ERROR"]


def test_a_line_that_cannot_be_written_stops_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("%d", "no number")
    logger.error("damaged")

    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["damaged"]
