"""The history of a training: lines of JSON for programs, TensorBoard for people."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import image, scalar

from rayology.atomic import WaitingLog, whole_lines, write_atomic

__all__ = ["HISTORY", "History", "read"]

logger = logging.getLogger(__name__)

HISTORY = "history.jsonl"
SHOWN = "tensorboard"
SECONDS_BETWEEN_FLUSHES = 10.0  # of TensorBoard's file, which waits for the disk each time


class History:
    """Append figures to ``history.jsonl`` and to TensorBoard's event files in a folder.

    A training that resumes from a checkpoint passes its step: the lines of later steps are removed. Lines that the
    storage does not take wait for the next one.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read(folder) if line["step"] <= step]
        self._before = float(kept[-1]["seconds"]) if kept else 0.0
        self._log = WaitingLog(folder / HISTORY)
        write_atomic(folder / HISTORY, "".join(json.dumps(line) + "\n" for line in kept).encode(), mode=0o666)
        self._shown = folder / SHOWN
        self._shown.mkdir(0o700, exist_ok=True)  # its owner's alone: pictures show patients
        self._events: RecordWriter | None = None
        self._show(step + 1, session_log=SessionLog(status=SessionLog.START))  # hides what an earlier process wrote
        self._started_at = self._flushed_at = time.monotonic()
        self._is_late = False

    def __enter__(self) -> "History":  # noqa: PYI034 - beartype takes no Self here
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._log.append()
        self._keep(RecordWriter.close)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add the figures of a step."""
        seconds = round(self._before + time.monotonic() - self._started_at, 3)
        late = self._log.append(json.dumps({"step": step, "seconds": seconds, **figures}))
        if late and not self._is_late:
            logger.warning("The history could not be written (%s); training goes on.", late.strerror)
        elif self._is_late and not late:
            logger.info("The history is written again, up to step %d.", step)
        self._is_late = late is not None
        for name, figure in figures.items():
            self._show(step, summary=scalar(name, figure))
        if (now := time.monotonic()) - self._flushed_at > SECONDS_BETWEEN_FLUSHES:
            self._flushed_at = now
            self._keep(RecordWriter.flush)

    def picture(self, step: int, name: str, picture: Image.Image) -> None:
        """Add a picture of a step, for TensorBoard alone."""
        self._show(step, summary=image(name, np.asarray(picture.convert("RGB")), dataformats="HWC"))

    def _show(self, step: int, **content: object) -> None:
        """Add an event for TensorBoard, which a storage that does not take it costs."""
        self._keep(lambda events: events.write(_event(step, **content)))

    def _keep(self, act: Callable[[RecordWriter], object]) -> None:
        """Write here and now: the thread of a SummaryWriter ends with a full disk, and then all wait for it.

        What a storage did not take may end in the middle of a record, so a new file is begun after it.
        """
        try:
            if self._events is None:
                self._events = RecordWriter(str(self._shown / f"events.out.tfevents.{time.time_ns()}"))
                self._events.write(_event(0, file_version="brain.Event:2"))
            act(self._events)
        except OSError:
            broken, self._events = self._events, None
            if broken is not None:
                with suppress(OSError):
                    broken.close()


def _event(step: int, **content: object) -> bytes:
    event: bytes = Event(wall_time=time.time(), step=step, **content).SerializeToString()
    return event


def read(folder: Path) -> Iterator[dict[str, float]]:
    """Yield the lines of a history so far; a last line that is still being written is left out."""
    yield from map(json.loads, whole_lines(folder / HISTORY))
