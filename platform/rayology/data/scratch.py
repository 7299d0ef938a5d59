"""Images on disk while a dataset is made, so that memory stays bounded."""

import math
import os
from collections import Counter
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scratch", "Shape"]

D = TypeVar("D", np.float32, np.uint8)
Shape = tuple[int, ...]
"""Channels, then rows and columns, or slices, rows and columns."""


class Scratch:
    """Images and masks that are appended and read back, one pair of files for each shape."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lengths: Counter[Shape] = Counter()

    def append(self, pixels: NDArray[np.float32], mask: NDArray[np.uint8] | None) -> int:
        """Add an image; return its row among those of its shape."""
        shape = pixels.shape
        with self._pixel_file(shape).open("ab") as opened:
            opened.write(np.ascontiguousarray(pixels).data)
        with self._mask_file(shape).open("ab") as opened:
            if mask is None:  # a hole in the file, which reads as 0 and takes no room
                opened.truncate((self._lengths[shape] + 1) * math.prod(shape[1:]))
            else:
                opened.write(np.ascontiguousarray(mask).data)
        self._lengths[shape] += 1
        return self._lengths[shape] - 1

    def restore(self, lengths: Counter[Shape]) -> bool:
        """Truncate the files to some numbers of images by shape; return whether they hold as many."""
        self._lengths = Counter()
        for file in self._folder.glob("*.scratch"):
            shape = tuple(map(int, file.stem.partition("-")[2].split("x")))
            bytes_an_image = 4 * math.prod(shape) if file == self._pixel_file(shape) else math.prod(shape[1:])
            if file.stat().st_size < lengths[shape] * bytes_an_image:
                return False
            os.truncate(file, lengths[shape] * bytes_an_image)
        if not all(self._pixel_file(shape).exists() and self._mask_file(shape).exists() for shape in lengths):
            return False
        self._lengths = Counter(lengths)
        return True

    def image(self, shape: Shape, row: int) -> NDArray[np.float32]:
        """Read one image, without a memory map: a process may have only so many of those."""
        return _read(self._pixel_file(shape), np.dtype(np.float32), shape, row)

    def mask(self, shape: Shape, row: int) -> NDArray[np.uint8]:
        """Read one mask."""
        return _read(self._mask_file(shape), np.dtype(np.uint8), shape[1:], row)

    def pixels(self, shape: Shape) -> NDArray[np.float32]:
        """Map all images of a shape, one after another."""
        return np.memmap(self._pixel_file(shape), np.float32, "r", shape=(self._lengths[shape], *shape))

    def masks(self, shape: Shape) -> NDArray[np.uint8]:
        """Map the masks of all images of a shape; those of images without a mask are 0."""
        return np.memmap(self._mask_file(shape), np.uint8, "r", shape=(self._lengths[shape], *shape[1:]))

    def _pixel_file(self, shape: Shape) -> Path:
        return self._folder / f"pixels-{'x'.join(map(str, shape))}.scratch"

    def _mask_file(self, shape: Shape) -> Path:
        return self._folder / f"masks-{'x'.join(map(str, shape))}.scratch"


def _read(file: Path, dtype: np.dtype[D], shape: Shape, row: int) -> NDArray[D]:
    count = math.prod(shape)
    return np.fromfile(file, dtype, count, offset=row * count * dtype.itemsize).reshape(shape)
