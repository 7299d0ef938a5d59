"""The history of a training: lines of JSON for programs, TensorBoard for people."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from rayology.atomic import append_line, whole_lines, write_atomic

__all__ = ["History", "read"]

FILE = "history.jsonl"


class History:
    """Append figures to ``history.jsonl`` and to TensorBoard's event files in a folder.

    A training that resumes from a checkpoint passes its step: the lines of later steps are removed.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read(folder) if line["step"] <= step]
        self._before = float(kept[-1]["seconds"]) if kept else 0.0
        self._file = folder / FILE
        write_atomic(self._file, "".join(json.dumps(line) + "\n" for line in kept).encode(), mode=0o666)
        self._events = SummaryWriter(str(folder), purge_step=step + 1)
        for file in folder.glob("events.out.tfevents.*"):
            file.chmod(0o600)  # pictures show patients
        self._started_at = time.monotonic()

    def __enter__(self) -> "History":  # noqa: PYI034 - beartype takes no Self here
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._events.close()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Add the figures of a step."""
        seconds = round(self._before + time.monotonic() - self._started_at, 3)
        append_line(self._file, json.dumps({"step": step, "seconds": seconds, **figures}))
        for name, figure in figures.items():
            self._events.add_scalar(name, figure, step)

    def show(self, step: int, name: str, picture: Image.Image) -> None:
        """Add a picture of a step."""
        self._events.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")


def read(folder: Path) -> Iterator[dict[str, float]]:
    """Yield the lines of a history so far; a last line that is still being written is left out."""
    yield from map(json.loads, whole_lines(folder / FILE))
