"""Files that their owner alone may read."""

import os
import tempfile
from pathlib import Path

__all__ = ["append_private", "write_private"]


def write_private(file: Path, content: bytes) -> None:
    """Write a file in one step, mode 0600; its folder is made, mode 0700, where it is not there."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=file.parent)  # which only its owner can read
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    Path(unfinished).rename(file)


def append_private(file: Path, line: str) -> None:
    """Add a line to a file, mode 0600, in one write; its folder is made, mode 0700, where it is not there."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab") as opened:
        opened.write(f"{line}\n".encode())
