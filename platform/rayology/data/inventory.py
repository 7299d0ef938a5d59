"""What a source turned out to contain, and which of its items gave no image."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rayology.atomic import write_atomic
from rayology.data.dicom.image_kind import CAPTURE
from rayology.data.duplicates import joined
from rayology.data.records import ImageRecord, Outcome
from rayology.data.sources import Item
from rayology.errors import SourceError

__all__ = ["Inventory", "by_series", "common_folder", "list_skipped", "take_inventory"]

UNLABELLED = (
    "SourceError: has no class while others have; give it one in its folder or table, or set source.labels to none"
)
KEYS_OF_A_TABLE = "write names as below source.path, or UIDs of instances, series or studies as the files have them now"
MAX_LISTED = 10_000
"""Most skipped files that are listed by name; all are counted."""


@dataclass(frozen=True)
class Inventory:
    """All images that were read, and why other items gave none."""

    num_items: int
    images: tuple[ImageRecord, ...] = ()
    """Images in the order of the items."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Reason why an item is in no image, or slices of it in no volume, by its number."""
    mended: tuple[str, ...] = ()
    """What was wrong with mended volumes."""
    other_modalities: Mapping[str, int] = field(default_factory=dict)
    """Number of items of each modality that was not asked for."""
    num_duplicates: int = 0
    """Number of items that repeat an instance."""

    def only(self, wanted: Callable[[ImageRecord], bool], *, reason: str) -> "Inventory":
        """Return an inventory of the wanted images alone, with the reason for the items of the others."""
        left_out = {record.item: reason for record in self.images if not wanted(record)}
        return replace(self, images=tuple(filter(wanted, self.images)), reasons={**self.reasons, **left_out})

    def cut(self, outcomes: Iterable[Outcome]) -> "Inventory":
        """Return the inventory of the patches that the series were cut into."""
        cuts = list(outcomes)
        return replace(
            self,
            images=tuple(record for each in cuts for record in each.images),
            reasons={**self.reasons, **{item: reason for each in cuts for item, reason in each.reasons}},
            mended=tuple(text for each in cuts for text in each.mended),
        )


def take_inventory(outcomes: Iterable[Outcome], *, labels: object = "none") -> Inventory:
    """Return what the items gave, in their order; copies of earlier instances are only counted.

    Raises:
        SourceError: the table matches no image, or gives no image a label although labels come from it.
    """
    images: list[ImageRecord] = []
    copies: list[ImageRecord] = []
    reasons: dict[int, str] = {}
    other_modalities: Counter[str] = Counter()
    originals: set[tuple[str, str]] = set()
    seen: set[tuple[str, bool]] = set()
    num_items = num_duplicates = 0
    for outcome in outcomes:
        num_items += 1
        reasons.update(outcome.reasons)
        originals.update([outcome.original] if outcome.original else [])
        other_modalities.update([outcome.other_modality] if outcome.other_modality else [])
        # A copy without a class must not stand for one that has a class.
        instances = {(each.who.instance, bool(each.label)) for each in outcome.images[:1] if each.who.instance}
        if instances & seen:
            num_duplicates += 1
            copies += outcome.images
        else:
            seen |= instances
            images += outcome.images
    images = _one_patient_a_study([*images, *copies])[: len(images)]
    inventory = Inventory(
        num_items, tuple(images), reasons, other_modalities=other_modalities, num_duplicates=num_duplicates
    )
    originals |= {(each.who.study, each.modality) for each in images if not each.is_capture}
    inventory = inventory.only(
        lambda record: not record.is_capture or (record.who.study, record.modality) not in originals,
        reason=f"NotSelected: {CAPTURE}",
    )
    if labels == "table" and images and not any(each.label for each in images):
        raise SourceError(f"the source: no row of the table gives any of its images a label; {KEYS_OF_A_TABLE}")
    if any(each.label for each in images):
        inventory = inventory.only(lambda record: bool(record.label), reason=UNLABELLED)
    if inventory.images and all(each.in_table is False for each in inventory.images):
        raise SourceError(f"the source: no row of the table says anything of its images; {KEYS_OF_A_TABLE}")
    return inventory


def _one_patient_a_study(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Give one lot to all patients who share an instance, a study or a frame of reference (DICOM PS3.3 A.1.2)."""
    first: dict[str, int] = {}
    pairs = (
        (first.setdefault(name, number), number)
        for number, record in enumerate(images)
        for name in filter(None, (record.who.instance, record.who.study, record.who.frame_of_reference))
    )
    draws = joined([record.who.draw for record in images], pairs)
    known = {draw for record, draw in zip(images, draws, strict=True) if record.who.has_patient}
    return [
        record
        if (record.who.draw, record.who.has_patient) == (draw, draw in known)
        else replace(record, who=replace(record.who, draw=draw, has_patient=draw in known))
        for record, draw in zip(images, draws, strict=True)
    ]


def by_series(images: Iterable[ImageRecord]) -> list[list[ImageRecord]]:
    """Return the images of each series, in the order in which the series came."""
    series: dict[str, list[ImageRecord]] = {}
    for record in images:
        series.setdefault(record.who.series, []).append(record)
    return list(series.values())


def common_folder(items: Sequence[Item]) -> str:
    """Return the deepest folder that holds every file."""
    return os.path.commonpath([item.path.parent for item in items])


def list_skipped(file: Path, items: Sequence[Item], reasons: Mapping[int, str]) -> None:
    """Write names and reasons of the first skipped items, for their owner alone: a file's name may name a patient."""
    folder = common_folder(items)
    listed = [
        {"file": os.path.relpath(items[number].path, folder), "part": items[number].part, "reason": reasons[number]}
        for number in sorted(reasons)[:MAX_LISTED]
    ]
    write_atomic(file, (json.dumps(listed, indent=2) + "\n").encode())
