"""Which of the images that were found make a dataset: their ranges, their splits, and what is left out."""

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayology.data.census import Census, Found, keep
from rayology.data.cutting import OUTSIDE
from rayology.data.duplicates import THUMBNAIL, duplicates, joined
from rayology.data.pet import MODALITY as PET
from rayology.data.pet import shared_range
from rayology.data.preparation import ImageFacts, PatchesConfig, PreparationConfig
from rayology.data.scratch import Scratch, Shape
from rayology.data.splits import MIN_PATIENTS, Place, SplitName, leaking, split_images
from rayology.errors import SeriesError, SourceError
from rayology.imaging import contrast, foreground

__all__ = ["Chosen", "check_classes", "choose", "require_one_kind"]

MAX_VALUES_OF_A_SERIES = 2**25
"""The most values from which the range of a series is found: all of 8,000 slices of 64 x 64."""
OTHER_CHANNELS = "SourceError: has another number of channels than most images of the source"
ONE_VALUE = "SourceError: its foreground has one value; leave its series out, or widen preparation.percentiles"


@dataclass(frozen=True)
class Chosen:
    """An image that is in the dataset."""

    facts: ImageFacts
    row: int
    low: float
    """The value, in units of the modality, that is stored as the low end of the dataset's range."""
    high: float
    split: SplitName


def choose(census: Census, scratch: Scratch, preparation: PreparationConfig) -> list[Chosen]:
    """Scale each series, leave out what is nearly empty or flat, and split the rest; the census counts what goes.

    Raises:
        SourceError: there is no image, or several modalities, or nothing to hold out.
    """
    modality = require_one_kind(census)
    _keep_commonest_channels(census)
    pixels = scratch.pixels(census.found[0].facts.shape)
    ranges = _kept_ranges(census, pixels, modality, preparation)
    kept = [found for found in census.found if found.row in ranges]
    if not kept:
        raise SourceError(_nothing_left(census, preparation))

    pairs = _alike(kept, scratch, ranges)
    shared = _shared(kept, pairs)
    if shared:
        census.num_duplicates += len(shared)
        kept, pairs = [found for number, found in enumerate(kept) if number not in shared], []
    places = _places(kept, pairs)
    census.num_joined = len({found.facts.who.draw for found in kept}) - len({place.patient for place in places})
    splits = _split(census, places, preparation)
    census.num_in_gaps = splits.count(None)
    census.num_leaking = len(leaking(places))
    chosen = [
        Chosen(found.facts, found.row, *ranges[found.row], split)
        for found, split in zip(kept, splits, strict=True)
        if split is not None
    ]
    census.num_not_in_table = sum(each.facts.in_table is False for each in chosen)
    return chosen


def _split(census: Census, places: Sequence[Place], preparation: PreparationConfig) -> list[SplitName | None]:
    try:
        return split_images(places, preparation.shares, gap_mm=preparation.gap_of_positions_mm)
    except SourceError as error:
        reasons = Counter(reason for reason in census.reasons.values() if reason != OUTSIDE)
        if not reasons:
            raise
        reason, often = reasons.most_common(1)[0]
        raise SourceError(f"{error}; {reasons.total()} files were left out, most often ({often}): {reason}") from None


def require_one_kind(census: Census) -> str:
    """Return the one modality of all images, which declare one range of values or none.

    Raises:
        SourceError: there is no image, or they are of several kinds.
    """
    modality = _one_modality(census)
    _check_one_range(census)
    return modality


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
    bodies = (values[foreground(values, *contrast(values))] for values in slices if len(values))
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
            f"the source: {single} of {len(patients)} classes hold a single patient, so they look like patients; write "
            "source.labels: none, or give patients the names of classes"
        )


def _nothing_left(census: Census, preparation: PreparationConfig) -> str:
    flat = list(census.reasons.values()).count(ONE_VALUE)
    if not flat and isinstance(preparation.cut, PatchesConfig):
        return (
            f"the source: all {len(census.found)} patches of {preparation.size * preparation.cut.spacing_mm:g} mm are "
            "nearly empty, as where volumes are smaller; lower preparation.size, preparation.cut.spacing_mm or "
            "preparation.min_foreground"
        )
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
    if not counts:
        raise SourceError(_no_image(census, listed))
    return next(iter(counts))


def _no_image(census: Census, other_modalities: str) -> str:
    """Say why there is no image; where there are those of another modality alone, that one was not meant."""
    refused = Counter(reason for reason in census.reasons.values() if reason.startswith(SeriesError.__name__))
    if other_modalities and not refused:
        return (
            f"the source: no image of the modality asked for, but {other_modalities}; set preparation.modality to one"
        )
    reason, often = (refused or Counter(census.reasons.values())).most_common(1)[0]
    beside = f"; of other modalities there is {other_modalities}" if other_modalities else ""
    what = "no series makes a volume" if refused else f"none of {census.num_files} files gives an image"
    return f"the source: {what}; most often ({often}): {reason}{beside}"


def _check_one_range(census: Census) -> None:
    counts = Counter(found.facts.values for found in census.found)
    if len(counts) > 1:
        listed = ", ".join(
            f"{values.low:g} to {values.high:g} {count}" if values else f"none declared {count}"
            for values, count in counts.items()
        )
        raise SourceError(f"the source: images of several ranges of grey levels ({listed}); convert them to one")


def _keep_commonest_channels(census: Census) -> None:
    """Keep only images with the commonest number of channels."""
    counts = Counter(found.facts.shape[0] for found in census.found)
    channels = min(counts, key=lambda number: (-counts[number], number))
    keep(census, lambda found: found.facts.shape[0] == channels, OTHER_CHANNELS)


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


def _alike(kept: Sequence[Found], scratch: Scratch, ranges: Mapping[int, tuple[float, float]]) -> list[tuple[int, int]]:
    """Return pairs of images that are equal, or nearly, where they may be of different patients.

    Of patches it is their volumes that are compared, and the first patch of one pairs with each of the other.
    """
    if len({found.facts.who.draw for found in kept}) == 1:
        return []
    numbers: dict[int, list[int]] = defaultdict(list)
    for number, found in enumerate(kept):
        shape, row = _compared(found)
        numbers[row].append(number)
    shown, rows, groups = scratch.pixels(shape), np.array(list(numbers)), list(numbers.values())
    bounds = np.array([ranges[kept[group[0]].row] for group in groups], np.float32)
    low, high = bounds.T.reshape(2, -1, 1, 1, 1)
    # What is clipped, such as the surroundings of a CT, makes no images alike.
    pairs = duplicates(lambda places: np.clip(shown[rows[places]], low[places], high[places]), len(rows))
    return [(groups[one][0], number) for one, other in pairs for number in groups[other]]


def _compared(found: Found) -> tuple[Shape, int]:
    """Return the shape and the row of what stands for an image: itself, or of a patch the thumbnail of its volume."""
    thumbnail = found.facts.thumbnail
    return (found.facts.shape, found.row) if thumbnail is None else (THUMBNAIL, thumbnail)


def _shared(kept: Sequence[Found], pairs: Sequence[tuple[int, int]]) -> set[int]:
    """Return the images to leave out where patients who share them would be too few, joined, to hold any out."""
    own = [found.facts.who.draw for found in kept]
    if any(found.facts.split for found in kept) or len(set(joined(own, pairs))) >= MIN_PATIENTS:
        return set()
    shared = {max(pair) for pair in pairs if own[pair[0]] != own[pair[1]]}
    left = {patient for number, patient in enumerate(own) if number not in shared}
    return shared if len(left) >= MIN_PATIENTS else set()


def _places(kept: Sequence[Found], pairs: Sequence[tuple[int, int]]) -> list[Place]:
    """Return what decides the splits; patients who share an image, or nearly, count as one."""
    patients = joined([found.facts.who.draw for found in kept], pairs)
    return [_place(found.facts, patient) for found, patient in zip(kept, patients, strict=True)]


def _place(facts: ImageFacts, patient: str) -> Place:
    return Place(
        patient=patient,
        label=facts.label,
        normal=facts.geometry.normal,
        position_mm=facts.geometry.position_mm,
        frame_of_reference=facts.who.frame_of_reference,
        declared=facts.split,
        official=facts.official,
    )
