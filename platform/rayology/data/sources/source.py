"""What all sources of images have in common: items, listed by one process and read by many."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom import Instance
from rayology.data.splits import SplitName
from rayology.image import ValueRange

__all__ = ["Example", "Item", "Source"]


@dataclass(frozen=True)
class Item:
    """A file that may hold images, or a part of one that is small enough to be read at once."""

    path: Path
    part: str = ""
    """Name of a member of the file; empty for the whole file."""
    rows: range = range(0)
    """Numbers of its images; empty for all."""
    label: str = ""
    """Name of the class of its images; empty if they have none or each its own."""
    beside: tuple[Path, ...] = ()
    """Other files that its images depend on, such as a mask or a table of labels."""
    reason: str = ""
    """Reason why it is counted but not read; empty for most."""


@dataclass(frozen=True)
class Example:
    """An image with all that its source knows about it."""

    instance: Instance
    label: str = ""
    """Name of its class; empty if it has none."""
    mask: NDArray[np.uint8] | None = None
    """Number of each pixel's region, 0 outside all; (rows, columns)."""
    values: ValueRange | None = None
    """Range and levels of all such images; None if the modality or the series decides."""
    split: SplitName | None = None
    """Split that the source puts it into; None if the preparation draws one."""
    official: bool = False
    """Whether that split was published with the images, so that it is kept even if it leaks."""
    in_table: bool | None = None
    """Whether the source's table has a row for it; None without a table."""


class Source(Protocol):
    """Where images come from.

    Its config builds it with ``build(root)``, the folder in which it may keep what it makes. A source travels to the
    processes that read its items, so it holds only values. The identity of an image names its patient or, if that is
    unknown, a ``picture`` of its own, by which images are told apart and split. ``plain`` makes images of arrays.
    """

    def items(self) -> Sequence[Item]:
        """List all files or their parts in an order that only the files determine, and raise SourceError if none."""
        ...

    def read(self, item: Item) -> Iterable[Example]:
        """Read the images of an item one by one; no message names the file, whose name may name a patient.

        Raises:
            DataError: the item is not an image or is damaged; none of its images is kept.
        """
        ...
