"""What happened to a run besides its steps: one line each, told by its processes and read by whoever watches it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rayology.atomic import WaitingLog, whole_lines

__all__ = ["INCIDENTS", "read_incidents", "recording", "tell"]

INCIDENTS = "incidents.log"


def tell(folder: Path, sentence: str) -> None:
    """Add a sentence and the time in UTC to the log in the folder of a run; a storage that is gone costs the line."""
    WaitingLog(folder / INCIDENTS).append(_timed(sentence))


def read_incidents(folder: Path) -> list[str]:
    """Return the lines so far."""
    return [line.decode().rstrip() for line in whole_lines(folder / INCIDENTS)]


@contextmanager
def recording(folder: Path) -> Iterator[None]:
    """Tell what this process logs about its training, which would reach nobody from a worker."""
    logger, handler = logging.getLogger("rayology.training"), _Handler(folder)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.log.append()


class _Handler(logging.Handler):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.log = WaitingLog(folder / INCIDENTS)

    def emit(self, record: logging.LogRecord) -> None:
        self.log.append(_timed(record.getMessage()))


def _timed(sentence: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {sentence}"
