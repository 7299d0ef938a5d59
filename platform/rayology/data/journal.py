"""What was done, on disk as it is done, so that a preparation that was killed goes on where it was."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from rayology.data.duplicates import THUMBNAIL
from rayology.data.preparation import ImageFacts, ReadImage
from rayology.data.scratch import Scratch, Shape

__all__ = ["Journal", "Kept", "KeptCut"]


class Line(Protocol):
    """What a journal keeps of a piece of work."""

    def shapes(self) -> Iterator[Shape]:
        """Return the shape of each image that it put in the scratch."""
        ...


@dataclass(frozen=True)
class Kept:
    """A reading whose pixels lie in the scratch."""

    images: tuple[ImageFacts, ...] = ()
    rows: tuple[int, ...] = ()
    """Of each image, among those of its shape."""
    reason: str = ""
    modality: str = ""
    """Of an image whose modality was not asked for."""

    def shapes(self) -> Iterator[Shape]:
        """Return the shape of each image."""
        return (facts.shape for facts in self.images)


@dataclass(frozen=True)
class KeptCut:
    """A series that was cut, and whose patches lie in the scratch, with a thumbnail of each of its volumes."""

    images: tuple[ImageFacts, ...] = ()
    rows: tuple[int, ...] = ()
    items: tuple[int, ...] = ()
    """The place of each patch's item among all items."""
    reasons: tuple[tuple[int, str], ...] = ()
    """The place of an item that is in no patch, and why."""
    mended: tuple[str, ...] = ()

    def shapes(self) -> Iterator[Shape]:
        """Return the shape of each patch, and of each thumbnail."""
        yield from (facts.shape for facts in self.images)
        yield from (THUMBNAIL for _ in {facts.thumbnail for facts in self.images})


L = TypeVar("L", bound=Line)


class Journal(Generic[L]):
    """A line for each piece of work, written after its pixels: a line that is whole has pixels that are."""

    def __init__(self, folder: Path, kind: type[L]) -> None:
        folder.mkdir(exist_ok=True)
        self.scratch = Scratch(folder)
        self._file = folder / "journal.jsonl"
        self._line = TypeAdapter(kind)

    def put(self, images: Sequence[ReadImage]) -> tuple[int, ...]:
        """Put images on disk before the line that names their rows."""
        return tuple(self.scratch.append(each.pixels, each.mask) for each in images)

    def write(self, line: L) -> L:
        """Put a line on disk."""
        with self._file.open("ab") as opened:
            opened.write(self._line.dump_json(line, exclude_defaults=True) + b"\n")
        return line

    def replay(self) -> list[L]:
        """Return what was written before, and cut off what was being written when the process ended."""
        kept: list[L] = []
        num_bytes = 0
        self._file.touch()
        with self._file.open("rb") as opened:
            for line in opened:
                try:
                    kept.append(self._line.validate_json(line if line.endswith(b"\n") else b""))
                except ValidationError:
                    break
                num_bytes += len(line)
        if not self.scratch.restore(Counter(shape for each in kept for shape in each.shapes())):
            kept, num_bytes = [], 0
            self.scratch.restore(Counter())
        with self._file.open("r+b") as opened:
            opened.truncate(num_bytes)
        return kept
