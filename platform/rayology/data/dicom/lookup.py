"""Lookup tables of a header: the modality's, and the colours of a palette."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from rayology.data.dicom.values import has, text
from rayology.errors import UnreadableImage

__all__ = ["Table", "in_colour", "modality_table"]


@dataclass(frozen=True)
class Table:
    """A lookup table for stored values (DICOM PS3.3 C.7.6.3.1.5, C.11.1.1)."""

    first: int
    """Stored value of the first entry."""
    entries: NDArray[np.generic]

    def __call__(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """Look up stored values; values beyond an end take its entry."""
        return self.entries[np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)]


def modality_table(dataset: Dataset) -> Table | None:
    """Return the Modality LUT, or None without one; raise UnreadableImage if it is shorter than it says."""
    items = dataset.get("ModalityLUTSequence") if has(dataset, "ModalityLUTSequence") else None
    item = items[0] if items else Dataset()
    descriptor, content = item.get("LUTDescriptor"), item.get("LUTData")
    if not descriptor or not content:
        return None
    return _table(dataset, descriptor, content)


def in_colour(indices: NDArray[np.generic], dataset: Dataset) -> NDArray[np.generic]:
    """Return the colours of a palette, (rows, columns, 3), in 8 bits: the high ones of 16.

    An entry of 8 bits may stand in a word of 16 (DICOM PS3.3 C.7.6.3.1.5).

    Raises:
        UnreadableImage: a colour has fewer entries than it says.
        Exception: pydicom finds that the palette is missing or has damaged segments.
    """
    if has(dataset, "SegmentedRedPaletteColorLookupTableData"):
        colours = np.asarray(apply_color_lut(indices, dataset))[..., :3]
    else:
        keywords = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
        tables = (
            _table(dataset, dataset[f"{each}Descriptor"].value, dataset[f"{each}Data"].value) for each in keywords
        )
        colours = np.stack([table(indices) for table in tables], axis=-1)
    if colours.dtype.itemsize == 1:
        return colours
    return colours & 0xFF if dataset.RedPaletteColorLookupTableDescriptor[2] == 8 else colours >> 8


def _table(dataset: Dataset, descriptor: Sequence[int], content: object) -> Table:
    """Read a table of words if there are enough of them, whatever its depth says, or else of bytes."""
    count, first = int(descriptor[0]) or 2**16, int(descriptor[1])  # DICOM PS3.3 C.11.1.1.1
    if isinstance(content, bytes):
        is_big_endian = text(dataset.file_meta, "TransferSyntaxUID") == ExplicitVRBigEndian
        words = np.frombuffer(content[: len(content) // 2 * 2], ">u2" if is_big_endian else "<u2")
        packed = np.frombuffer(content, np.uint8)
    else:
        words = np.atleast_1d(np.asarray(content))
        packed = words.astype("<u2").view(np.uint8)
    entries = packed if len(words) < count and descriptor[2] == 8 else words
    if len(entries) < count:
        raise UnreadableImage(f"a lookup table has {len(entries)} of {count} entries; damaged")
    return Table(first, entries[:count])
