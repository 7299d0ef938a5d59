"""Arrays of images with arrays of labels, the form of many machine learning data sets."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from rayology.config import Config
from rayology.data.identity import Identity
from rayology.data.sources.files.archive import ArchiveLimits
from rayology.data.sources.raster import grey_levels, plain
from rayology.data.sources.source import Example, Item
from rayology.data.splits import SPLITS, SplitName
from rayology.data.unreadable import as_source_error
from rayology.errors import SourceError, UnreadableImage

__all__ = ["ArraysConfig", "ArraysSource"]

MAX_IMAGES = 64
"""Most images of an item."""
MAX_BYTES = 2**22
"""Most bytes of an item, unless a single image has more."""
MAX_IMAGE_BYTES = 2**27
MAX_UNNAMED = 100
"""Most classes without names: their numbers have two digits, so that they sort in order."""

REMEDY = "copy it again, or write whole numbers: objects are never unpickled"


class ArraysConfig(Config):
    """Images of one class each, in official splits."""

    path: str
    """File or folder that holds the arrays, or its URI."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers; empty for the numbers themselves."""
    max_images: PositiveInt = 2**24
    """Most images of each split, from its start."""
    limits: ArchiveLimits = ArchiveLimits()
    """Limits on what an archive, an npz file or a gzipped file may unpack to."""


C = TypeVar("C", bound=ArraysConfig)


@dataclass(frozen=True)
class ArraysSource(ABC, Generic[C]):
    """List blocks of images and read them; a subclass finds the files and maps each into memory."""

    config: C
    root: Path

    @abstractmethod
    def files(self) -> Mapping[SplitName, tuple[Path, Path]]:
        """Return the files of images and of labels of each split, unpacked if necessary.

        Raises:
            SourceError: one is missing, or cannot be unpacked.
        """

    @abstractmethod
    def map(self, file: Path) -> NDArray[np.generic]:
        """Map the array of a file into memory, and raise anything if the file is damaged."""

    def items(self) -> Sequence[Item]:
        """List blocks of images, split by split.

        Raises:
            SourceError: a file is missing, damaged, or of another form.
        """
        items: list[Item] = []
        for split, (file, beside) in self.files().items():
            images, labels = self._mapped(file), self._mapped(beside)
            self._check(images, labels)
            length = min(len(images), self.config.max_images)
            step = min(max(1, MAX_BYTES // images[0].nbytes), MAX_IMAGES)
            blocks = (range(start, min(start + step, length)) for start in range(0, length, step))
            items += [Item(file, part=split, rows=rows, beside=(beside,)) for rows in blocks]
        return items

    def read(self, item: Item) -> Iterator[Example]:
        """Read a block, and raise UnreadableImage if a label lies beyond the classes or pixels have no fixed levels."""
        (split,) = (name for name in SPLITS if name == item.part)
        rows = slice(item.rows.start, item.rows.stop)
        images, labels = self._mapped(item.path)[rows], self._mapped(item.beside[0])[rows].reshape(-1)
        values = grey_levels(images.dtype)
        for row, pixels, label in zip(item.rows, images, labels.tolist(), strict=True):
            instance = plain(pixels, Identity(picture=f"{split}/{row}"))
            yield Example(instance, self._name(label), values=values, split=split, official=True)

    def _mapped(self, file: Path) -> NDArray[np.generic]:
        complaint = f"its {file.name} is missing, damaged or not an array of numbers"
        # numpy's errors about a damaged header have no common base.
        with as_source_error(self.config.path, complaint, REMEDY, Exception):
            array = np.asarray(self.map(file))
            if array.dtype.kind not in "iu" or not array.size:
                found = f"its {file.name} holds values of type {array.dtype} in shape {array.shape}"
                raise SourceError(f"{found}; write whole numbers, such as uint8, and at least one")
            return array

    def _name(self, label: int) -> str:
        classes = self.config.classes
        if not 0 <= label < (len(classes) or MAX_UNNAMED):
            raise UnreadableImage(
                f"has label {label}, beyond the {len(classes)} names in source.classes; name it there"
            )
        return classes[label] if classes else f"{label:02}"

    def _check(self, images: NDArray[np.generic], labels: NDArray[np.generic]) -> None:
        """Refuse arrays that are not grey or colour images with one label each."""
        axes, length = images.shape[1:], images.shape[:1]
        if (len(axes) != 2 and axes[2:] != (3,)) or images[0].nbytes > MAX_IMAGE_BYTES:
            raise SourceError(
                f"{self.config.path}: images of shape {axes}; write two axes, or a third of 3 colours, and at most "
                f"{MAX_IMAGE_BYTES} bytes"
            )
        if labels.shape not in {length, (*length, 1)}:
            raise SourceError(
                f"{self.config.path}: labels of shape {labels.shape} for {length[0]} images; write one class each"
            )
