"""Arrays of images with an array of labels, as the data sets of machine learning come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rayology.data.identity import Identity
from rayology.data.sources.deflated import DeflatedArray
from rayology.data.sources.plain import grey_levels, plain
from rayology.data.sources.source import Example, Item
from rayology.data.splits import SplitName
from rayology.errors import SourceError, UnreadableImage

__all__ = ["LabelledArray", "blocks"]

MAX_IMAGES = 64
"""The most images of an item."""
MAX_BYTES = 2**22
"""The most bytes of an item, unless a single image has more."""
MAX_UNNAMED = 100
"""How many classes may go without names: as many as two digits tell apart, so that their names sort as they do."""


@dataclass(frozen=True)
class LabelledArray:
    """Images of one split, published with their classes."""

    split: SplitName
    images: DeflatedArray
    """(images, rows, columns), or (images, rows, columns, 3)."""
    labels: DeflatedArray
    """(images,) or (images, 1)."""

    def check(self) -> None:
        """Refuse arrays that are no grey or coloured images with one label each.

        Raises:
            SourceError: says what was found.
        """
        axes, length = self.images.shape[1:], len(self.images)
        if len(axes) != 2 and axes[2:] != (3,):
            raise SourceError(
                f"{self.images.file}: images of shape {axes}; two axes, or a third of 3 colours, are read"
            )
        if self.labels.shape not in {(length,), (length, 1)}:
            raise SourceError(
                f"{self.labels.file}: labels of shape {self.labels.shape} for {length} images; one class each is read"
            )

    def examples(self, rows: range, classes: Sequence[str]) -> Iterator[Example]:
        """Read some images; classes without names are named by their numbers.

        Raises:
            UnreadableImage: a file is damaged there, or a label lies beyond the classes.
        """
        pixels, labels = self.images.read(rows), self.labels.read(rows).reshape(-1)
        values = grey_levels(pixels.dtype)
        for row, each, label in zip(rows, pixels, labels.tolist(), strict=True):
            instance = plain(each, Identity(picture=f"{self.split}/{row}"))
            yield Example(instance, _name(label, classes), values=values, split=self.split, official=True)


def blocks(array: LabelledArray, max_images: int, *, part: str = "", beside: tuple[Path, ...] = ()) -> Iterator[Item]:
    """Cut the first images of an array into items."""
    length = min(len(array.images), max_images)
    step = min(max(1, MAX_BYTES // array.images.row_bytes), MAX_IMAGES)
    for start in range(0, length, step):
        yield Item(array.images.file, part=part, rows=range(start, min(start + step, length)), beside=beside)


def _name(label: int, classes: Sequence[str]) -> str:
    if not 0 <= label < (len(classes) or MAX_UNNAMED):
        raise UnreadableImage(f"has label {label}, beyond the {len(classes)} names in source.classes; name it there")
    return classes[label] if classes else f"{label:02}"
