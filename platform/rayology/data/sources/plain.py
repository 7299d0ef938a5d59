"""Arrays that come without a DICOM header, as images."""

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom import Instance
from rayology.data.dicom.geometry import Geometry
from rayology.data.identity import Identity
from rayology.errors import UnreadableImage
from rayology.image import ValueRange

__all__ = ["grey_levels", "plain"]


def plain(pixels: NDArray[np.generic], identity: Identity) -> Instance:
    """Return an image of (rows, columns) or (rows, columns, channels), in grey levels, of which all is valid."""
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
    """Return the range that a picture's type allows.

    Raises:
        UnreadableImage: its pixels are no unsigned integers of 8 or 16 bits.
    """
    if dtype.kind != "u" or dtype.itemsize > 2:
        raise UnreadableImage(f"pixels of type {dtype} have no fixed grey levels; write unsigned ones of 8 or 16 bits")
    levels = 1 << 8 * dtype.itemsize
    return ValueRange(low=0.0, high=levels - 1.0, unit="grey level", levels=levels)
