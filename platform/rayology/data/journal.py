"""Outcomes on disk as they come, so that a preparation that was killed continues where it stopped."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rayology.atomic import append_line, whole_lines, write_atomic
from rayology.data.duplicates import THUMBNAIL
from rayology.data.records import ImageRecord, Outcome, Pixels, Work
from rayology.data.scratch import Scratch, Shape

__all__ = ["Journal"]

LINE = TypeAdapter(Outcome)


class Journal:
    """One line for each outcome, written after its pixels: if the line is complete, so are they."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.scratch = Scratch(folder)
        self._file = folder / "outcomes.jsonl"

    def resume(self, work: Callable[[int], Iterable[Work]]) -> Iterator[Outcome]:
        """Yield what was written before, then write and yield what the work gives from that number on."""
        before = self.replay()
        yield from before
        for outcome, pixels in work(len(before)):
            yield self.write(outcome, pixels)

    def write(self, outcome: Outcome, pixels: Sequence[Pixels]) -> Outcome:
        """Write an outcome, and return it with the rows of its pixels in the scratch."""
        images: list[ImageRecord] = []
        thumbnail = None
        for record, each in zip(outcome.images, pixels, strict=True):
            if each.thumbnail is not None:
                thumbnail = self.scratch.append(each.thumbnail, None)
            images.append(replace(record, row=self.scratch.append(each.values, each.mask), thumbnail=thumbnail))
        written = replace(outcome, images=tuple(images))
        append_line(self._file, LINE.dump_json(written, exclude_defaults=True).decode())
        return written

    def replay(self) -> list[Outcome]:
        """Return what was written before, and cut off what was incomplete when the process ended."""
        kept: list[Outcome] = []
        for line in whole_lines(self._file):
            try:
                kept.append(LINE.validate_json(line))
            except ValidationError:
                break  # after a power cut, a block of zeros may stand before lines that were written later
        if not self.scratch.restore(Counter(shape for each in kept for shape in _shapes(each))):
            kept = []
            self.scratch.restore(Counter())
        write_atomic(self._file, b"".join(LINE.dump_json(each, exclude_defaults=True) + b"\n" for each in kept))
        return kept


def _shapes(outcome: Outcome) -> Iterator[Shape]:
    """Yield the shape of everything that an outcome has in the scratch."""
    yield from (record.shape for record in outcome.images)
    yield from (THUMBNAIL for _ in {record.thumbnail for record in outcome.images} - {None})
