"""PNG, JPEG and TIFF pictures as arrays of grey levels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from rayology.data.unreadable import as_unreadable
from rayology.errors import UnreadableImage

__all__ = ["SUFFIXES", "read_page", "read_raster"]

FORMATS = ("PNG", "JPEG", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_PIXELS = 2**26
"""The most pixels of a picture, all pages together."""
GREY = {"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


def read_raster(file: Path) -> Iterator[NDArray[np.generic]]:
    """Read every page of a picture as (rows, columns), or (rows, columns, 3) in RGB; an opacity is left out.

    Raises:
        UnreadableImage: it is no PNG, JPEG or TIFF, is damaged or too large, or has pixels without fixed grey levels.
    """
    with as_unreadable("is no picture that can be read"), Image.open(file, formats=FORMATS) as opened:
        num_pixels = 0
        for page in ImageSequence.Iterator(opened):
            num_pixels += page.width * page.height
            if num_pixels > MAX_PIXELS:
                raise UnreadableImage(f"has more than {MAX_PIXELS} pixels; split it")
            if page.mode not in GREY and page.mode not in COLOUR:
                raise UnreadableImage(f"pixels of mode {page.mode} have no fixed grey levels; write 8 or 16 bits")
            yield np.asarray(page.convert(GREY.get(page.mode, "RGB"))).copy()


def read_page(file: Path) -> NDArray[np.generic]:
    """Read a picture of one page, as ``read_raster`` reads it.

    Raises:
        UnreadableImage: it cannot be read, or has several pages.
    """
    first, *others = read_raster(file)
    if others:
        raise UnreadableImage(f"has {1 + len(others)} pages; write one")
    return first
