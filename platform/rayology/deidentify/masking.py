"""Blacken rectangles of an image, in every frame."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import ExplicitVRLittleEndian

from rayology.data.dicom.layout import layout
from rayology.data.dicom.pixels import stored_frames, to_rgb
from rayology.deidentify.rules import Rectangle
from rayology.errors import UnreadableImage

__all__ = ["masked"]


def masked(dataset: Dataset, rectangles: Sequence[Rectangle]) -> Dataset:
    """Return a copy whose rectangles are black; a compressed image becomes Explicit VR Little Endian.

    Black is the darkest value of the image itself, so that no window shows it brighter than anything else.

    Raises:
        UnreadableImage: the pixels are not there as whole bytes, or mix colours over neighbours, or a rectangle lies
            outside them.
    """
    copied = deepcopy(dataset)
    if copied.file_meta.TransferSyntaxUID.is_encapsulated:
        _decompress(copied)
    photometric, bits = str(copied.get("PhotometricInterpretation")), copied.get("BitsAllocated")
    if "PixelData" not in copied or bits not in {8, 16, 32} or photometric.startswith("YBR"):
        raise UnreadableImage(f"pixels of {bits} bits ({photometric}) cannot be masked; hold such files back instead")
    kind = f"{'i' if copied.get('PixelRepresentation') == 1 else 'u'}{bits // 8}"
    values = np.frombuffer(copied.PixelData, kind, get_expected_length(copied) * 8 // bits).copy()
    black = values.max() if photometric == "MONOCHROME1" else values.min()
    if any(area.top >= copied.Rows or area.left >= copied.Columns for area in rectangles):
        raise UnreadableImage(
            f"a rectangle lies outside {copied.Rows} x {copied.Columns} pixels; say in the rule's `when` for which "
            "Rows and Columns it is meant"
        )
    is_interleaved = copied.SamplesPerPixel > 1 and copied.PlanarConfiguration == 0
    pixels = values.reshape(-1, copied.Rows, copied.Columns, copied.SamplesPerPixel if is_interleaved else 1)
    for area in rectangles:
        pixels[:, area.top : area.top + area.rows, area.left : area.left + area.columns] = black
    copied["PixelData"].value = values.tobytes() + bytes(values.nbytes % 2)
    return copied


def _decompress(dataset: Dataset) -> None:
    """Replace compressed pixels by the values that they stand for, colour as RGB."""
    found = layout(dataset)
    in_colour = found.samples > 1
    frames = [decode() for decode in stored_frames(dataset, found)]
    pixels = np.stack([to_rgb(dataset, found, frame) for frame in frames] if in_colour else frames)
    dataset.add_new("PixelData", "OB" if pixels.itemsize == 1 else "OW", pixels.tobytes() + bytes(pixels.nbytes % 2))
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)
    if in_colour:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
