"""Masks that lie next to their images as pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rayology.data.sources.raster import read_page
from rayology.errors import UnreadableImage

__all__ = ["fitting", "read_mask"]


def read_mask(file: Path, shape: tuple[int, ...], *, numbered: bool = False) -> NDArray[np.uint8]:
    """Read a picture of regions: numbered by their grey levels, or 1 wherever it is not 0.

    Raises:
        UnreadableImage: it cannot be read, has several pages, grey levels beyond 255 that number regions, or not the
            shape, rows and columns, of its image.
    """
    try:
        page = read_page(file)
    except UnreadableImage as error:
        raise UnreadableImage(f"its mask {error}") from None
    if not numbered:
        return fitting((page.reshape(*page.shape[:2], -1) != 0).any(2).astype(np.uint8), shape)
    if page.ndim != 2 or page.dtype != np.uint8:
        raise UnreadableImage("its mask has no grey levels of 8 bits; write the number of each region as its level")
    return fitting(page.astype(np.uint8), shape)


def fitting(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a mask that has the shape of its image.

    Raises:
        UnreadableImage: it has another.
    """
    if mask.shape != shape:
        found, expected = (" x ".join(map(str, each)) for each in (mask.shape, shape))
        raise UnreadableImage(f"its mask has {found} pixels, the image {expected}; write one of the same size")
    return mask
