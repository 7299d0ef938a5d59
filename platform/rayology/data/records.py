"""What is known about images on their way into a dataset, from the worker that reads one to its row of the index."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom import Facts, Geometry
from rayology.data.dicom.facts import NOTHING_KNOWN
from rayology.data.identity import Pseudonyms
from rayology.data.splits import SplitName
from rayology.image import ValueRange

__all__ = ["ONE_CHANNEL", "ImageRecord", "Outcome", "Pixels", "Work"]

ONE_CHANNEL = "three equal channels became one"


@dataclass(frozen=True)
class ImageRecord:
    """All that is known about an image except its pixels; later stages fill in the last fields."""

    who: Pseudonyms
    modality: str
    shape: tuple[int, ...]
    """Channels, then rows and columns; for a patch slices, rows and columns."""
    geometry: Geometry
    """Place and spacing of the pixels; for a patch those of its first slice."""
    original_size: tuple[int, ...]
    """Rows and columns before they were conformed; for a patch the size of its volume."""
    item: int = 0
    """Number of the source's item that holds it; for a patch the item of the first slice of its volume."""
    label: str = ""
    syntax: str = ""
    """Name of the transfer syntax; empty if the image did not come as DICOM."""
    units: str = ""
    """Code of PET's units; GML is SUV by body weight. Empty if it is not known, or for others."""
    is_capture: bool = False
    """Whether it is a secondary capture, a page if its study has images of the modality's own class."""
    has_mask: bool = False
    values: ValueRange | None = None
    """Range of all such images; None if the modality or the series decides."""
    declared: SplitName | None = None
    """Split that the source put it into."""
    official: bool = False
    """Whether that split was published with the images."""
    in_table: bool | None = None
    """Whether the source's table has a row for it; None without a table."""
    changed: tuple[str, ...] = ()
    """What reading and curation made of its pixels or left out of its file, in words."""
    header: Facts = NOTHING_KNOWN
    """What tells slices of a volume apart; nothing if images are slices."""
    between_slices_mm: float | None = None
    """Distance between the slices of a patch."""

    row: int = 0
    """Place of its pixels among those of its shape in the scratch, filled in by the journal."""
    thumbnail: int | None = None
    """Place of the thumbnail of a patch's volume in the scratch, filled in by the journal."""
    low: float = 0.0
    """Value in modality units that is stored as the low end of the dataset's range, filled in by curation."""
    high: float = 0.0
    """Value that is stored as the high end, filled in by curation."""
    split: SplitName | None = None
    """Split of the dataset that it belongs to, filled in by curation."""

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Distance between rows and columns; for a patch between slices, rows and columns."""
        spacing_mm = self.geometry.spacing_mm
        return (self.between_slices_mm, *spacing_mm) if self.between_slices_mm and spacing_mm else spacing_mm


@dataclass(frozen=True, eq=False)
class Pixels:
    """What a worker returns with a record, for the journal to write."""

    values: NDArray[np.float32]
    """Pixels in modality units, of the record's shape."""
    mask: NDArray[np.uint8] | None = None
    """Number of each pixel's region, 0 outside all; one channel."""
    thumbnail: NDArray[np.float32] | None = None
    """Image of the volume that comes with its first patch, to look for copies."""


@dataclass(frozen=True)
class Outcome:
    """Result of an item, or of the slices of a series."""

    images: tuple[ImageRecord, ...] = ()
    reasons: tuple[tuple[int, str], ...] = ()
    """Numbers of items of which at least one slice is in no image, and why."""
    mended: tuple[str, ...] = ()
    """What was wrong with mended volumes."""
    original: tuple[str, str] | None = None
    """Study and modality of an item that was not selected, unless it is a secondary capture."""
    other_modality: str = ""
    """Modality of an item, if it was not asked for."""


Work = tuple[Outcome, Sequence[Pixels]]
"""What a worker returns: the pixels in the order of the outcome's images."""
