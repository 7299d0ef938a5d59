"""Files and folders that appear whole, and logs of which a torn line costs that line alone.

What is written is for its owner alone, since it may name or show a patient; ``mode`` says where others may read it.
A file or folder that appears is on the disk, so that not even a power cut leaves a name without its content. A line of
a log outlives its process, and may be lost with the machine.
"""

import errno
import fcntl
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

__all__ = [
    "UNFINISHED",
    "Follower",
    "WaitingLog",
    "append_line",
    "atomic_file",
    "atomic_folder",
    "make_once",
    "sole_use",
    "whole_lines",
    "write_atomic",
]

UNFINISHED = ".part"
"""How a name ends of which a killed process may leave a file or folder."""


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Let one process at a time write a folder, which need not exist yet; the others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def atomic_folder(folder: Path, *, mode: int = 0o700) -> Iterator[Path]:
    """Give an empty folder that takes its name when the block ends well, and is deleted if it does not.

    The caller has the sole use of the name, so what a killed process left is cleared away.
    """
    unfinished = folder.with_name(f".{folder.name}{UNFINISHED}")
    shutil.rmtree(unfinished, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished.mkdir(mode)
    try:
        yield unfinished
        os.sync()  # once: a second where fsync takes ten of 5,000 files
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def make_once(folder: Path, make: Callable[[Path], object]) -> None:
    """Have a folder made in one step unless it exists; of several processes, one makes it and the others wait."""
    if folder.is_dir():
        return
    with sole_use(folder):
        if not folder.is_dir():
            with atomic_folder(folder) as unfinished:
                make(unfinished)


@contextmanager
def atomic_file(file: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Give a file that takes its name when the block ends well, and is deleted if it does not.

    Its folder is made if needed. Of several writers at once, the last one's file stays.
    """
    file.parent.mkdir(mode | (mode & 0o444) >> 2, parents=True, exist_ok=True)  # who may read may enter
    unfinished = file.with_name(f".{uuid4().hex}{UNFINISHED}")
    try:
        unfinished.touch(mode)
        with unfinished.open("wb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.rename(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_atomic(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file in one step."""
    with atomic_file(file, mode=mode) as opened:
        opened.write(content)


def append_line(file: Path, line: str) -> None:
    """Add a line to a log, whole or not at all; the log is made if needed, in a folder that exists."""
    content = f"{line}\n".encode()
    log = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        before = os.fstat(log).st_size
        if os.write(log, content) < len(content):
            os.ftruncate(log, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    finally:
        os.close(log)


class WaitingLog:
    """A log for whoever must not stop for it: lines that the storage does not take wait for the next one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._waiting: deque[str] = deque()

    def append(self, *lines: str) -> OSError | None:
        """Add lines after those that wait; return why they wait, if they do."""
        self._waiting.extend(lines)
        try:
            while self._waiting:
                append_line(self._file, self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            return error
        return None


class Follower:
    """Reads what was added to a log since it was looked at last; one that was written anew is read from its start."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode = self._at = 0

    def lines(self) -> list[bytes]:
        """Return the new lines that are complete."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as opened:
            if (inode := os.fstat(opened.fileno()).st_ino) != self._inode:
                self._inode, self._at = inode, 0
            opened.seek(self._at)
            whole, end, _ = opened.read().rpartition(b"\n")
        self._at += len(whole + end)
        return (whole + end).splitlines()


def whole_lines(file: Path) -> Iterator[bytes]:
    """Yield the complete lines of a log; none if it does not exist.

    Whoever goes on with a log first writes it anew without the line that was being written when its process ended.
    """
    if file.exists():
        with file.open("rb") as opened:
            yield from (line for line in opened if line.endswith(b"\n"))
