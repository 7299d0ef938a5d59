"""What every source of images gives: items, listed by one process and read by many."""

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
    """The name of a member of the file; empty for the whole file."""
    rows: range = range(0)
    """Which of its images; empty for all."""
    label: str = ""
    """The name of the class of its images; empty where they have none or each its own."""
    beside: tuple[Path, ...] = ()
    """Other files that its images depend on, such as a mask or a table of labels."""


@dataclass(frozen=True)
class Example:
    """An image with all that its source knows of it."""

    instance: Instance
    label: str = ""
    """The name of its class; empty where it has none."""
    mask: NDArray[np.uint8] | None = None
    """(rows, columns): 0 outside, the number of the region inside."""
    values: ValueRange | None = None
    """The range and levels of all images of this kind; None where the modality or the series decides."""
    split: SplitName | None = None
    """The split that it was put into before; None where the preparation draws lots."""
    official: bool = False
    """Whether that split was published with the images, so that it stands even where it leaks."""
    in_table: bool | None = None
    """Whether a row of the source's table says something of it; None where there is no table."""


class Source(Protocol):
    """Where images come from.

    Its config builds it with ``build(root)``, the folder where it may keep what it makes, and writes a few images for
    it to read with ``example(folder)``. A source travels to the processes that read its items, so it holds nothing
    but values. Whose an image is stands in its identity: a patient, or, where nobody is known, a ``picture`` of its
    own, by which images are told apart and split. ``plain`` makes images of arrays.
    """

    def items(self) -> Sequence[Item]:
        """List every file, or every part of one, in an order that only the files determine.

        Raises:
            SourceError: the source is not there or holds no file.
        """
        ...

    def read(self, item: Item) -> Iterable[Example]:
        """Read the images of an item one after another; no message names the file, whose name may name a patient.

        Raises:
            DataError: the item is no image or is damaged; none of its images is kept.
        """
        ...
