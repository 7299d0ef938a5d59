"""Readings on disk as they come, so that a preparation that was killed goes on where it was."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rayology.data.preparation import Reading, SliceFacts
from rayology.data.scratch import Scratch

__all__ = ["Journal", "Kept"]


@dataclass(frozen=True)
class Kept:
    """A reading whose pixels lie in the scratch."""

    slices: tuple[SliceFacts, ...] = ()
    rows: tuple[int, ...] = ()
    """Of each slice, among those of as many channels."""
    reason: str = ""
    modality: str = ""
    """Of an image whose modality was not asked for."""


LINE = TypeAdapter(Kept)


class Journal:
    """A line for each reading, written after its pixels: a line that is whole has pixels that are."""

    def __init__(self, folder: Path, scratch: Scratch) -> None:
        self._file = folder / "readings.jsonl"
        self._scratch = scratch

    def keep(self, reading: Reading) -> Kept:
        """Put a reading on disk."""
        rows = tuple(self._scratch.append(each.pixels, each.mask) for each in reading.slices)
        kept = Kept(tuple(each.facts for each in reading.slices), rows, reading.reason, reading.modality)
        with self._file.open("ab") as opened:
            opened.write(LINE.dump_json(kept) + b"\n")
        return kept

    def replay(self) -> list[Kept]:
        """Return what was kept before, and cut off what was being written when the process ended."""
        kept: list[Kept] = []
        if not self._file.exists():
            return kept
        num_bytes = 0
        for line in self._file.read_bytes().splitlines(keepends=True):
            try:
                kept.append(LINE.validate_json(line))
            except ValidationError:
                break
            num_bytes += len(line)
        lengths = Counter(each.channels for reading in kept for each in reading.slices)
        if not self._scratch.restore(lengths):
            kept, num_bytes = [], 0
            self._scratch.restore(Counter())
        with self._file.open("r+b") as opened:
            opened.truncate(num_bytes)
        return kept
