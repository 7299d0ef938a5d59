"""What a source turned out to hold, and what of it was refused."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rayology.data.journal import Kept
from rayology.data.preparation import ImageFacts
from rayology.data.sources import Item
from rayology.errors import SourceError

__all__ = ["Census", "Found", "common_folder", "gather", "keep"]

UNLABELLED = (
    "SourceError: has no class where others have; give it one in its folder or table, or set source.labels to none"
)

KEYS_OF_A_TABLE = "write names as below source.path, or UIDs of instances, series or studies as the files have them now"


@dataclass(frozen=True)
class Found:
    """An image, and where its pixels lie in the scratch."""

    item: Item
    facts: ImageFacts
    row: int


@dataclass
class Census:
    """Count what was found."""

    folder: str
    """Below which all files lie."""
    num_files: int
    found: list[Found] = field(default_factory=list)
    reasons: dict[Item, str] = field(default_factory=dict)
    """Why a file gave no image."""
    mended: Counter[str] = field(default_factory=Counter)
    """What was wrong with series that make volumes, and is mended."""
    other_modalities: Counter[str] = field(default_factory=Counter)
    num_duplicates: int = 0
    num_not_in_table: int = 0
    """Images of the dataset of which no row of the source's table says anything; 0 where there is no table."""
    num_nearly_empty: int = 0
    num_joined: int = 0
    """Patients that count as another's, for they have an image in common, or nearly."""
    num_in_gaps: int = 0
    num_leaking: int = 0
    """Images of official splits whose patient, or whose equal, lies in another of them."""


def common_folder(items: Sequence[Item]) -> str:
    """Return the deepest folder that holds every file."""
    return os.path.commonpath([item.path.parent for item in items])


def gather(
    items: Sequence[Item], readings: Iterable[Kept], report: Callable[[int], None], *, labels: object = "none"
) -> Census:
    """Take every reading in the order of the items; a copy of an instance that came before only counts.

    Raises:
        SourceError: there is a table, and it says nothing of any image, or gives none the label that it should.
    """
    census = Census(common_folder(items), len(items))
    seen: set[tuple[str, bool]] = set()
    for done, (item, reading) in enumerate(zip(items, readings, strict=True), 1):
        # A copy without a class must not stand for one that has a class.
        copies = {(facts.who.instance, bool(facts.label)) for facts in reading.images[:1]}
        if reading.modality:
            census.other_modalities[reading.modality] += 1
        elif reading.reason:
            census.reasons[item] = reading.reason
        elif copies & seen:
            census.num_duplicates += 1
        else:
            seen.update(copy for copy in copies if copy[0])
            census.found += [Found(item, facts, row) for facts, row in zip(reading.images, reading.rows, strict=True)]
        report(done)
    if labels == "table" and census.found and not any(found.facts.label for found in census.found):
        raise SourceError(f"the source: no row of the table gives any of its images a label; {KEYS_OF_A_TABLE}")
    if any(found.facts.label for found in census.found):
        keep(census, lambda found: bool(found.facts.label), UNLABELLED)
    if census.found and all(found.facts.in_table is False for found in census.found):
        raise SourceError(f"the source: no row of the table says anything of its images; {KEYS_OF_A_TABLE}")
    return census


def keep(census: Census, wanted: Callable[[Found], bool], reason: str) -> None:
    """Leave out every image that is not wanted, its item counted with the reason."""
    census.reasons.update((found.item, reason) for found in census.found if not wanted(found))
    census.found = [found for found in census.found if wanted(found)]
