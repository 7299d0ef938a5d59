"""Lookup tables of a header: the modality's, and the palette's colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from rayology.data.values import has, text
from rayology.errors import UnreadableImage

__all__ = ["ModalityTable", "in_colour", "modality_table"]


@dataclass(frozen=True)
class ModalityTable:
    """Values in units of the modality, by stored value (DICOM PS3.3 C.11.1.1)."""

    first: int
    """The stored value of the first entry."""
    entries: NDArray[np.float64]

    def __call__(self, stored: NDArray[np.generic]) -> NDArray[np.float64]:
        """Look stored values up; those beyond either end take the entry there."""
        return self.entries[np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)]


def modality_table(dataset: Dataset) -> ModalityTable | None:
    """Return the table of a file; None where it has none, or one that is empty.

    Entries are as wide as the data make them: some files name the bits that are used, or fewer, as their depth.

    Raises:
        UnreadableImage: the table is shorter than it says.
    """
    items = dataset.get("ModalityLUTSequence") if has(dataset, "ModalityLUTSequence") else None
    item = items[0] if items else Dataset()
    descriptor, content = item.get("LUTDescriptor"), item.get("LUTData")
    if not descriptor or not content:
        return None
    count = int(descriptor[0]) or 2**16  # DICOM PS3.3 C.11.1.1.1
    entries = _entries(content, count, order=">" if _is_big_endian(dataset) else "<")
    if len(entries) < count:
        raise UnreadableImage(f"its Modality LUT has {len(entries)} of {count} entries; damaged")
    return ModalityTable(int(descriptor[1]), entries[:count].astype(np.float64))


def in_colour(indices: NDArray[np.generic], dataset: Dataset) -> NDArray[np.generic]:
    """Return the colours of a palette in 8 bits, (rows, columns, 3), the high ones where it has 16.

    An entry of 8 bits may stand in a word of 16 (DICOM PS3.3 C.7.6.3.1.5).
    """
    colours = np.asarray(apply_color_lut(indices, dataset))[..., :3]
    if colours.dtype.itemsize == 1:
        return colours
    return colours & 0xFF if dataset.RedPaletteColorLookupTableDescriptor[2] == 8 else colours >> 8


def _entries(content: object, count: int, *, order: str) -> NDArray[np.generic]:
    """Read entries from the bytes of OW, or from the words of US and SS, which may hold two of 8 bits each."""
    if isinstance(content, bytes):
        return np.frombuffer(content, f"{order}u{2 if len(content) >= 2 * count else 1}")
    words = np.atleast_1d(np.asarray(content))
    return words.astype("<u2").view(np.uint8) if 2 * len(words) == count else words


def _is_big_endian(dataset: Dataset) -> bool:
    return text(dataset.file_meta, "TransferSyntaxUID") == ExplicitVRBigEndian
