"""PNG, JPEG and TIFF pictures as arrays, masks among them, and arrays as images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from rayology.data.dicom import Geometry, Instance
from rayology.data.identity import Identity
from rayology.data.unreadable import as_unreadable
from rayology.errors import UnreadableImage
from rayology.image import ValueRange
from rayology.picture import upright

__all__ = ["SUFFIXES", "fitting", "grey_levels", "plain", "read_mask", "read_page", "read_raster"]

FORMATS = ("PNG", "JPEG", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_PIXELS = 2**26
"""Most pixels of a picture, all pages together."""
GREY = {"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


def read_raster(file: Path) -> Iterator[NDArray[np.generic]]:
    """Read every page of a picture as (rows, columns), or (rows, columns, 3) in RGB, without opacity.

    A page is turned as ``upright`` does.

    Raises:
        UnreadableImage: it is not a PNG, JPEG or TIFF, is damaged or too large, or has no fixed grey levels.
    """
    complaint = "is not a picture that can be read"
    # Pillow maps a named TIFF that must be turned with rows and columns exchanged.
    with as_unreadable(complaint), file.open("rb") as stream, Image.open(stream, formats=FORMATS) as opened:
        num_pixels = 0
        for page in ImageSequence.Iterator(opened):
            num_pixels += page.width * page.height
            if num_pixels > MAX_PIXELS:
                raise UnreadableImage(f"has more than {MAX_PIXELS} pixels; split it")
            if page.mode not in GREY and page.mode not in COLOUR:
                raise UnreadableImage(f"pixels of mode {page.mode} have no fixed grey levels; write 8 or 16 bits")
            page.load()
            yield np.asarray(upright(page).convert(GREY.get(page.mode, "RGB"))).copy()


def read_page(file: Path) -> NDArray[np.generic]:
    """Read a picture as ``read_raster`` does, and raise UnreadableImage if it has several pages."""
    first, *others = read_raster(file)
    if others:
        raise UnreadableImage(f"has {1 + len(others)} pages; write one")
    return first


def read_mask(file: Path, shape: tuple[int, ...], *, numbered: bool = False) -> NDArray[np.uint8]:
    """Read a picture of regions: numbered by grey levels, or 1 wherever it is not 0.

    Raises:
        UnreadableImage: it cannot be read, has several pages, numbers regions by more than 8 bits, or has another
            shape (rows, columns) than its image.
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
    """Return a mask, and raise UnreadableImage if its shape is not that of its image."""
    if mask.shape != shape:
        found, expected = (" x ".join(map(str, each)) for each in (mask.shape, shape))
        raise UnreadableImage(f"its mask has {found} pixels, the image {expected}; write one of the same size")
    return mask


def plain(pixels: NDArray[np.generic], identity: Identity) -> Instance:
    """Return an array of grey levels, (rows, columns) or (rows, columns, channels), as an image of valid pixels."""
    channels = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return Instance(
        pixels=np.ascontiguousarray(channels, np.float32),
        valid=np.ones(pixels.shape[:2], np.bool_),
        geometry=Geometry(),
        modality="",
        syntax="",
        identity=identity,
    )


def grey_levels(dtype: np.dtype[np.generic]) -> ValueRange:
    """Return the range of a type of pixels, and raise UnreadableImage unless it has 8 or 16 unsigned bits."""
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise UnreadableImage(f"pixels of type {dtype} have no fixed grey levels; write unsigned ones of 8 or 16 bits")
    levels = 1 << 8 * dtype.itemsize
    return ValueRange(low=0.0, high=levels - 1.0, unit="grey level", levels=levels)
