"""What a source turned out to hold, and which of it makes a dataset."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rayology.data.duplicates import duplicates, joined
from rayology.data.imaging import contrast, foreground
from rayology.data.journal import Kept
from rayology.data.pet import MODALITY as PET
from rayology.data.pet import shared_range
from rayology.data.preparation import PreparationConfig, SliceFacts
from rayology.data.scratch import Scratch
from rayology.data.source import Item
from rayology.data.splits import Place, SplitName, leaking, split_images
from rayology.errors import SourceError

__all__ = ["Census", "Chosen", "Found", "check_classes", "choose", "common_folder", "gather"]

MAX_VALUES_OF_A_SERIES = 2**25
"""The most values from which the range of a series is found: all of 8,000 slices of 64 x 64."""
UNLABELLED = (
    "SourceError: has no class where others have; give it one in its folder or table, or set source.labels to none"
)
OTHER_CHANNELS = "SourceError: has another number of channels than most images of the source"
ONE_VALUE = "SourceError: its foreground has one value; leave its series out, or widen preparation.percentiles"


@dataclass(frozen=True)
class Found:
    """A slice, and where its pixels lie in the scratch."""

    item: Item
    facts: SliceFacts
    row: int


@dataclass(frozen=True)
class Chosen:
    """A slice that is in the dataset."""

    facts: SliceFacts
    row: int
    low: float
    """The value, in units of the modality, that is stored as the low end of the dataset's range."""
    high: float
    split: SplitName


@dataclass
class Census:
    """Count what was found."""

    folder: str
    """Below which all files lie."""
    num_files: int
    found: list[Found] = field(default_factory=list)
    reasons: dict[Item, str] = field(default_factory=dict)
    """Why a file gave no slice."""
    other_modalities: Counter[str] = field(default_factory=Counter)
    num_duplicates: int = 0
    num_nearly_empty: int = 0
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
        SourceError: labels come from a table, and it names none of the images.
    """
    census = Census(common_folder(items), len(items))
    seen: set[tuple[str, bool]] = set()
    for done, (item, reading) in enumerate(zip(items, readings, strict=True), 1):
        # A copy without a class must not stand for one that has a class.
        copies = {(facts.who.instance, bool(facts.label)) for facts in reading.slices[:1]}
        if reading.modality:
            census.other_modalities[reading.modality] += 1
        elif reading.reason:
            census.reasons[item] = reading.reason
        elif copies & seen:
            census.num_duplicates += 1
        else:
            seen.update(copy for copy in copies if copy[0])
            census.found += [Found(item, facts, row) for facts, row in zip(reading.slices, reading.rows, strict=True)]
        report(done)
    if labels == "table" and census.found and not any(found.facts.label for found in census.found):
        raise SourceError(
            "the source: no row of the table gives any of its images a label; write names as below source.path, or UIDs"
        )
    if any(found.facts.label for found in census.found):
        _keep(census, lambda found: bool(found.facts.label), UNLABELLED)
    return census


def choose(census: Census, scratch: Scratch, preparation: PreparationConfig) -> list[Chosen]:
    """Scale each series, leave out what is nearly empty or flat, and split the rest; the census counts what goes.

    Raises:
        SourceError: there is no image, or several modalities, or nothing to hold out.
    """
    modality = _one_modality(census)
    _check_one_range(census)
    channels = _commonest_channels(census)
    pixels = scratch.pixels(channels)
    ranges = _kept_ranges(census, pixels, modality, preparation)
    kept = [found for found in census.found if found.row in ranges]
    if not kept:
        raise SourceError(_nothing_left(census))

    places = _places(kept, pixels, ranges)
    splits = split_images(places, preparation.shares, gap_mm=preparation.gap_mm)
    census.num_in_gaps = splits.count(None)
    census.num_leaking = len(leaking(places))
    return [
        Chosen(found.facts, found.row, *ranges[found.row], split)
        for found, split in zip(kept, splits, strict=True)
        if split is not None
    ]


def _kept_ranges(
    census: Census, pixels: NDArray[np.float32], modality: str, preparation: PreparationConfig
) -> dict[int, tuple[float, float]]:
    """Return the range of each row that is kept: what is declared, else what its series has; count what goes."""
    ranges: dict[int, tuple[float, float]] = {}
    for series in _series(census.found).values():
        declared = series[0].facts.values
        if declared:
            ranges.update(dict.fromkeys((found.row for found in series), (declared.low, declared.high)))
            continue
        bounds, kept_range = _ranges(pixels, [found.row for found in series], modality, preparation)
        full = [
            found.row for found in series if foreground(pixels[found.row], *bounds).mean() >= preparation.min_foreground
        ]
        if full and not kept_range[0] < kept_range[1]:
            census.reasons.update((found.item, ONE_VALUE) for found in series)
            continue
        census.num_nearly_empty += len(series) - len(full)
        ranges.update(dict.fromkeys(full, kept_range))
    if modality == PET and ranges:
        return dict.fromkeys(ranges, _shared_range(pixels, census, ranges, preparation))
    return ranges


def _shared_range(
    pixels: NDArray[np.float32], census: Census, kept: Container[int], preparation: PreparationConfig
) -> tuple[float, float]:
    """Return one range for all series, whose files carry a slope each and so compare only in modality units."""
    slices = (pixels[[each.row for each in series if each.row in kept]] for series in _series(census.found).values())
    bodies = [values[foreground(values, *contrast(values))] for values in slices if len(values)]
    return shared_range(bodies, preparation.percentiles)


def check_classes(chosen: Sequence[Chosen]) -> None:
    """Refuse classes that look like patients, whose names would become the names of classes.

    Raises:
        SourceError: there are more than two classes, and most hold images of a single patient.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for each in chosen:
        patients[each.facts.label].add(each.facts.who.patient)
    single = sum(len(members) == 1 for members in patients.values())
    if len(patients) > 2 and 2 * single > len(patients):  # two classes may well be two patients
        raise SourceError(
            f"the source: {single} of {len(patients)} folders hold a single patient, so they look like patients, not "
            "classes; write source.labels: none, or sort the patients into folders of classes"
        )


def _nothing_left(census: Census) -> str:
    flat = list(census.reasons.values()).count(ONE_VALUE)
    if not flat:
        return f"the source: all {len(census.found)} images are nearly empty; lower preparation.min_foreground"
    return (
        f"the source: no image is left: {census.num_nearly_empty} nearly empty, and {flat} files of a series whose "
        "foreground has one value; add images, lower preparation.min_foreground or widen preparation.percentiles"
    )


def _one_modality(census: Census) -> str:
    counts = Counter(found.facts.modality for found in census.found)
    listed = ", ".join(f"{name or 'none given'} {count}" for name, count in (counts or census.other_modalities).items())
    if len(counts) > 1:
        raise SourceError(f"the source: several modalities ({listed}); set preparation.modality to one of them")
    if not counts and listed:
        raise SourceError(
            f"the source: no image of the modality asked for, but {listed}; set preparation.modality to one"
        )
    if not counts:
        reason, often = Counter(census.reasons.values()).most_common(1)[0]
        raise SourceError(f"the source: none of {census.num_files} files is an image; most often ({often}): {reason}")
    return next(iter(counts))


def _check_one_range(census: Census) -> None:
    counts = Counter(found.facts.values for found in census.found)
    if len(counts) > 1:
        listed = ", ".join(
            f"{values.low:g} to {values.high:g} {count}" if values else f"none declared {count}"
            for values, count in counts.items()
        )
        raise SourceError(f"the source: images of several ranges of grey levels ({listed}); convert them to one")


def _commonest_channels(census: Census) -> int:
    """Keep only slices with the commonest number of channels, and return that number."""
    counts = Counter(found.facts.channels for found in census.found)
    channels = min(counts, key=lambda number: (-counts[number], number))
    _keep(census, lambda found: found.facts.channels == channels, OTHER_CHANNELS)
    return channels


def _keep(census: Census, wanted: Callable[[Found], bool], reason: str) -> None:
    """Leave out every image that is not wanted, its item counted with the reason."""
    census.reasons.update((found.item, reason) for found in census.found if not wanted(found))
    census.found = [found for found in census.found if wanted(found)]


def _series(found: Sequence[Found]) -> dict[str, list[Found]]:
    series: dict[str, list[Found]] = defaultdict(list)
    for each in found:
        series[each.facts.who.series].append(each)
    return series


def _ranges(
    pixels: NDArray[np.float32], rows: Sequence[int], modality: str, preparation: PreparationConfig
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return a series' darkest and brightest value, and the range that is kept of it."""
    if modality == "CT":
        window = (preparation.window.low, preparation.window.high)
        return window, window
    every = max(1, len(rows) * pixels[0].size // MAX_VALUES_OF_A_SERIES)
    values = pixels[np.asarray(rows[::every])]
    bounds = contrast(values)
    body = values[foreground(values, *bounds)]
    if body.size == 0:
        return bounds, bounds
    low, high = (float(bound) for bound in np.percentile(body, preparation.percentiles))
    return bounds, (low, high)


def _places(
    kept: Sequence[Found], pixels: NDArray[np.float32], ranges: Mapping[int, tuple[float, float]]
) -> list[Place]:
    """Return what decides the splits; patients who share an image, or nearly, count as one."""
    patients = [found.facts.who.draw for found in kept]
    if len(set(patients)) > 1:
        rows = np.array([found.row for found in kept])
        low, high = np.array([ranges[row] for row in rows.tolist()], np.float32).T[:, :, None, None, None]
        # What is clipped, such as the surroundings of a CT, makes no images alike.
        pairs = duplicates(lambda places: np.clip(pixels[rows[places]], low[places], high[places]), len(rows))
        patients = joined(patients, pairs)
    return [_place(found.facts, patient) for found, patient in zip(kept, patients, strict=True)]


def _place(facts: SliceFacts, patient: str) -> Place:
    return Place(
        patient=patient,
        label=facts.label,
        normal=facts.geometry.normal,
        position_mm=facts.geometry.position_mm,
        frame_of_reference=facts.who.frame_of_reference,
        declared=facts.split,
        official=facts.official,
    )
