"""Conformed slices on disk while a dataset is made, so that memory stays bounded."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scratch"]


class Scratch:
    """Append slices of one size, and get them back as memory maps; those of different channels lie apart."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self._folder = folder
        self._size = size
        self._lengths: Counter[int] = Counter()

    def append(self, pixels: NDArray[np.float32], mask: NDArray[np.uint8] | None) -> int:
        """Add a slice; return its row among those of as many channels."""
        channels = len(pixels)
        kept_mask = np.zeros(self._size, np.uint8) if mask is None else mask
        for file, values in ((self._pixel_file(channels), pixels), (self._mask_file(channels), kept_mask)):
            with file.open("ab") as opened:
                opened.write(np.ascontiguousarray(values).tobytes())
        self._lengths[channels] += 1
        return self._lengths[channels] - 1

    def restore(self, lengths: Counter[int]) -> bool:
        """Cut the files to so many slices of each number of channels; return whether they hold as many."""
        self._lengths = Counter()
        for file in self._folder.glob("*.scratch"):
            channels = int(file.stem.rpartition("-")[2])
            values = channels * np.float32().nbytes if file == self._pixel_file(channels) else 1
            num_bytes = lengths[channels] * values * self._size[0] * self._size[1]
            if file.stat().st_size < num_bytes:
                return False
            os.truncate(file, num_bytes)
        if not all(self._pixel_file(channels).exists() and self._mask_file(channels).exists() for channels in lengths):
            return False
        self._lengths = Counter(lengths)
        return True

    def pixels(self, channels: int) -> NDArray[np.float32]:
        """Return (slices, channels, rows, columns)."""
        shape = (self._lengths[channels], channels, *self._size)
        return np.memmap(self._pixel_file(channels), np.float32, "r", shape=shape)

    def masks(self, channels: int) -> NDArray[np.uint8]:
        """Return (slices, rows, columns), 0 where a slice came without a mask."""
        return np.memmap(self._mask_file(channels), np.uint8, "r", shape=(self._lengths[channels], *self._size))

    def _pixel_file(self, channels: int) -> Path:
        return self._folder / f"pixels-{channels}.scratch"

    def _mask_file(self, channels: int) -> Path:
        return self._folder / f"masks-{channels}.scratch"
