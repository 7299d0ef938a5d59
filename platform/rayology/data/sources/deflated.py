"""Arrays in compressed files, read a few rows at a time."""

import functools
import gzip
import math
import mmap
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from rayology.errors import SourceError, UnreadableImage

__all__ = ["DeflatedArray", "checked", "open_idx"]

MAX_ROWS = 2**24
"""The most images of one file."""
MAX_ROW_BYTES = 2**27
"""The most bytes of one image."""
MAX_DEFLATION = 1032
"""How many bytes a byte of deflate can stand for, at most (zlib's documentation)."""
IDX_UNSIGNED_BYTES = 0x08
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
"""What the standard library's readers raise on damaged files; a NotImplementedError is a RuntimeError."""


@dataclass(frozen=True)
class DeflatedArray:
    """An array in a file, of which nothing was read but its header."""

    file: Path
    member: str
    """Of a zip; empty in other files."""
    offset: int
    """Where its first value lies in the unpacked bytes."""
    shape: tuple[int, ...]
    dtype: str

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """How many bytes one of its rows has."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    def read(self, rows: range) -> NDArray[np.generic]:
        """Read some rows.

        Raises:
            UnreadableImage: the file is damaged there.
        """
        try:
            status = self.file.stat()
            stream = _unpacked(self.file, self.member, (status.st_mtime_ns, status.st_size))
            stream.seek(self.offset + rows.start * self.row_bytes)
            content = stream.read(len(rows) * self.row_bytes)
        except DAMAGED as error:
            _unpacked.cache_clear()
            raise UnreadableImage(f"its rows cannot be unpacked ({type(error).__name__}); damaged") from None
        if len(content) < len(rows) * self.row_bytes:
            raise UnreadableImage("ends before its last row; damaged")
        return np.frombuffer(content, self.dtype).reshape(len(rows), *self.shape[1:])


def open_idx(file: Path) -> DeflatedArray:
    """Read the header of an idx file of unsigned bytes (LeCun, Cortes & Burges: the MNIST database), gzipped or not.

    Raises:
        SourceError: it is no such file, or shorter than its header says.
    """
    try:
        with _opened(file, "") as stream:
            zeros, kind, axes = struct.unpack(">HBB", stream.read(4))
            if zeros or kind != IDX_UNSIGNED_BYTES or not 1 <= axes <= 4:
                raise ValueError
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            return checked(DeflatedArray(file, "", stream.tell(), shape, "u1"), file.stat().st_size)
    except DAMAGED:
        raise SourceError(
            f"{file}: is missing, or not an idx file of unsigned bytes; set source.path to the dataset's files"
        ) from None


def checked(array: DeflatedArray, file_bytes: int) -> DeflatedArray:
    """Return an array whose header claims no more than its file can hold.

    Raises:
        ValueError: it claims more, or nothing.
    """
    if not array.shape or not 0 < array.shape[0] <= MAX_ROWS or not 0 < array.row_bytes <= MAX_ROW_BYTES:
        raise ValueError
    if len(array) * array.row_bytes > MAX_DEFLATION * file_bytes:
        raise ValueError
    return array


@functools.lru_cache(maxsize=2)
def _unpacked(file: Path, member: str, state: tuple[int, int]) -> BinaryIO:
    """Keep the streams of images and labels open, for seeking backwards in one unpacks it from its start."""
    del state
    return _opened(file, member)


def _opened(file: Path, member: str) -> BinaryIO:
    if member:
        return zipfile.ZipFile(file).open(member)  # type: ignore[return-value]  # an IO[bytes] reads as a BinaryIO does
    with file.open("rb") as opened:
        gzipped = opened.read(2) == b"\x1f\x8b"  # RFC 1952 2.3.1
        return gzip.open(file, "rb") if gzipped else mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)  # type: ignore[return-value]  # as above
