"""Folders and files that appear in one step, for their owner alone: what they hold may name a patient."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

__all__ = ["UNFINISHED", "landing_file", "landing_folder", "sole_use"]

UNFINISHED = ".part"


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Let one process at a time write a folder, which need not be there yet; the others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def landing_folder(folder: Path) -> Iterator[Path]:
    """Give a folder of mode 0700 that takes its name when the block ends well, and is gone where it does not.

    The caller has the sole use of the name; what a killed process left is cleared away.
    """
    for left in folder.parent.glob(f".{folder.name}-*{UNFINISHED}"):
        shutil.rmtree(left)
    unfinished = Path(mkdtemp(prefix=f".{folder.name}-", suffix=UNFINISHED, dir=folder.parent))
    try:
        yield unfinished
        os.sync()  # one for all its files: a power cut must not leave the name without their content
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


@contextmanager
def landing_file(file: Path) -> Iterator[BinaryIO]:
    """Give a file that takes its name when the block ends well, and is gone where it does not.

    The caller has the sole use of the folder, so an unfinished file of a killed process is written over.
    """
    unfinished = file.with_name(file.name + UNFINISHED)
    try:
        with unfinished.open("wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
