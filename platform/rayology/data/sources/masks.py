"""Masks that lie beside their images as pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rayology.errors import UnreadableImage

__all__ = ["fitting", "read_mask"]


def read_mask(file: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Read a picture that is not 0 inside a region: 1 there, 0 outside.

    Raises:
        UnreadableImage: it is no picture, or not of the shape, rows and columns, of its image.
    """
    try:
        with Image.open(file) as opened:
            mask = np.asarray(opened.convert("L")) > 0
    except (OSError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"its mask cannot be read ({type(error).__name__}); write it as PNG") from None
    return fitting(mask.astype(np.uint8), shape)


def fitting(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a mask that has the shape of its image.

    Raises:
        UnreadableImage: it has another.
    """
    if mask.shape != shape:
        found, expected = (" x ".join(map(str, each)) for each in (mask.shape, shape))
        raise UnreadableImage(f"its mask has {found} pixels, the image {expected}; write one of the same size")
    return mask
