"""Choose the images of a dataset among those that were read, with their ranges and splits."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rayology.data.cutting import OUTSIDE
from rayology.data.dataset import Counts
from rayology.data.dicom.pet import BQML, PET, SUV
from rayology.data.duplicates import THUMBNAIL, duplicates, joined
from rayology.data.inventory import Inventory, by_series
from rayology.data.preparation import CT, PatchesConfig, PreparationConfig
from rayology.data.records import ONE_CHANNEL, ImageRecord
from rayology.data.scratch import Scratch
from rayology.data.splits import MIN_PATIENTS, Place, SplitName, leaking, split_images
from rayology.errors import SeriesError, SourceError
from rayology.imaging import contrast, foreground

__all__ = ["Curation", "check_classes", "check_one_kind", "curate"]

MAX_VALUES_OF_A_SERIES = 2**25
"""Most values that the range of a series is computed from: all of 8,000 slices of 64 x 64."""
MAX_SAMPLE_OF_A_SERIES = 2**16
"""Most values that one series contributes to the common range of all series."""
MEASURED = {CT, "MR", PET}
"""Modalities whose images are measured values, of which only maps and pages are in colour."""
NOT_MEASURED = "SourceError: is in colour, so its values are not those that the source's other images measure"
THREE_CHANNELS = "grey was repeated in three channels, as others are in colour"
ONE_VALUE = "SourceError: its foreground has one value; leave its series out, or widen preparation.percentiles"
Stack = NDArray[np.float32]
"""Pixels of all images of one shape in the scratch, by row."""


@dataclass(frozen=True)
class Curation:
    """The images of a dataset, and how many were left out of it."""

    images: tuple[ImageRecord, ...]
    """Chosen images with range and split, in the order of the items."""
    inventory: Inventory
    """What the images were chosen from, with a reason for each item that was left out."""
    counts: Counts
    num_leaking: int
    """Number of images in official splits whose patient, or an equal image, is in another split too."""


def curate(inventory: Inventory, scratch: Scratch, preparation: PreparationConfig) -> Curation:
    """Scale each series, leave out nearly empty and flat images, and split the rest.

    Raises:
        SourceError: there is no image, or several modalities, or nothing to hold out.
    """
    check_one_kind(inventory)
    inventory = _with_as_many_channels(inventory, scratch)
    order = {record.row: number for number, record in enumerate(inventory.images)}
    pixels = scratch.pixels(inventory.images[0].shape)
    kept: list[ImageRecord] = []
    flat: set[int] = set()
    for series in by_series(inventory.images):
        full = _scaled(series, pixels, preparation)
        if full and not full[0].low < full[0].high:
            flat |= {each.row for each in series}
        else:
            kept += full
    num_nearly_empty = len(inventory.images) - len(flat) - len(kept)
    inventory = inventory.only(lambda record: record.row not in flat, reason=ONE_VALUE)
    if not kept:
        raise SourceError(_nothing_left(inventory, num_nearly_empty, preparation))
    if kept[0].modality == PET and kept[0].values is None:
        kept = _with_shared_range(kept, pixels, preparation)
    kept.sort(key=lambda record: order[record.row])

    pairs = _alike(kept, scratch)
    shared = _shared(kept, pairs)
    if shared:
        kept, pairs = [record for number, record in enumerate(kept) if number not in shared], []
    places = _places(kept, pairs)
    splits = _split(inventory, places, preparation)
    images = tuple(replace(record, split=split) for record, split in zip(kept, splits, strict=True) if split)
    counts = Counts(
        files=inventory.num_items,
        images=len(images),
        skipped=len(inventory.reasons),
        duplicates=inventory.num_duplicates + len(shared),
        joined_patients=len({record.who.patient for record in kept}) - len({place.patient for place in places}),
        not_in_table=sum(record.in_table is False for record in images),
        other_modality=sum(inventory.other_modalities.values()),
        nearly_empty=num_nearly_empty,
        dropped_in_gaps=splits.count(None),
    )
    return Curation(images, inventory, counts, num_leaking=len(leaking(places)))


def check_one_kind(inventory: Inventory) -> None:
    """Raise SourceError if there are no images, or images of several modalities, units or declared ranges."""
    modalities = Counter(record.modality for record in inventory.images)
    listed = _listed(modalities or inventory.other_modalities)
    if not modalities:
        raise SourceError(_no_image(inventory, listed))
    if len(modalities) > 1:
        raise SourceError(f"the source: several modalities ({listed}); set preparation.modality to one of them")
    found = Counter(record.units for record in inventory.images if not _came_in_colour(record))
    if len(found) > 1:
        raise SourceError(
            f"the source: PET in several units ({_listed(found)}); set preparation.units to one; {BQML} keeps what "
            f"would become SUV ({SUV})"
        )
    ranges = Counter(
        f"{record.values.low:g} to {record.values.high:g}" if record.values else "none declared"
        for record in inventory.images
    )
    if len(ranges) > 1:
        raise SourceError(
            f"the source: images of several ranges of grey levels ({_listed(ranges)}); convert them to one"
        )


def check_classes(images: Sequence[ImageRecord]) -> None:
    """Refuse classes that look like patients, because the names of classes are published.

    Raises:
        SourceError: there are more than two classes, and most hold images of a single patient.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for record in images:
        patients[record.label].add(record.who.draw)
    single = sum(len(members) == 1 for members in patients.values())
    if len(patients) > 2 and 2 * single > len(patients):  # two classes may well be two patients
        raise SourceError(
            f"the source: {single} of {len(patients)} classes hold a single patient, so they look like patients; write "
            "source.labels: none, or give patients the names of classes"
        )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'none given'} {count}" for name, count in counts.items())


def _no_image(inventory: Inventory, other_modalities: str) -> str:
    """Say why there is no image: if all are of another modality, preparation.modality is wrong."""
    reasons = Counter(inventory.reasons.values())
    refused = Counter({reason: count for reason, count in reasons.items() if reason.startswith(SeriesError.__name__)})
    if other_modalities and not refused:
        return (
            f"the source: no image of the modality asked for, but {other_modalities}; set preparation.modality to one"
        )
    reason, often = (refused or reasons).most_common(1)[0]
    others = f"; of other modalities there is {other_modalities}" if other_modalities else ""
    what = "no series makes a volume" if refused else f"none of {inventory.num_items} files gives an image"
    return f"the source: {what}; most often ({often}): {reason}{others}"


def _with_as_many_channels(inventory: Inventory, scratch: Scratch) -> Inventory:
    """Return an inventory whose grey images are repeated in three channels if any image is in colour.

    The colours of maps and pages are not measured values, so these are left out from among images that are.
    """
    first = inventory.images[0]
    is_measured = first.modality in MEASURED and first.values is None
    if is_measured and not all(map(_came_in_colour, inventory.images)):
        return inventory.only(lambda record: not _came_in_colour(record), reason=NOT_MEASURED)
    if len({record.shape for record in inventory.images}) == 1:
        return inventory
    images = (record if record.shape[0] == 3 else _repeated(record, scratch) for record in inventory.images)
    return replace(inventory, images=tuple(images))


def _came_in_colour(record: ImageRecord) -> bool:
    return record.shape[0] == 3 or ONE_CHANNEL in record.changed


def _repeated(record: ImageRecord, scratch: Scratch) -> ImageRecord:
    """Append a grey image to those in colour, as one of which it may have come."""
    pixels = scratch.image(record.shape, record.row).repeat(3, 0)
    row = scratch.append(pixels, scratch.mask(record.shape, record.row))
    changed = {*record.changed} ^ {ONE_CHANNEL} if ONE_CHANNEL in record.changed else {*record.changed, THREE_CHANNELS}
    return replace(record, shape=pixels.shape, row=row, changed=tuple(sorted(changed)))


def _scaled(series: Sequence[ImageRecord], pixels: Stack, preparation: PreparationConfig) -> list[ImageRecord]:
    """Return the images of a series that are not nearly empty, each with the range to keep."""
    declared = series[0].values
    if declared:
        return [replace(record, low=declared.low, high=declared.high) for record in series]
    bounds, (low, high) = _ranges(pixels, [record.row for record in series], series[0].modality, preparation)
    return [
        replace(record, low=low, high=high)
        for record in series
        if foreground(pixels[record.row], *bounds).mean() >= preparation.min_foreground
    ]


def _ranges(
    pixels: Stack, rows: Sequence[int], modality: str, preparation: PreparationConfig
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the darkest and brightest value of a series, and the range to keep."""
    if modality == CT:
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


def _with_shared_range(
    images: Sequence[ImageRecord], pixels: Stack, preparation: PreparationConfig
) -> list[ImageRecord]:
    """Give all series one range: their files have different slopes, so only modality units are comparable."""
    samples = [_body_sample(pixels[[record.row for record in series]]) for series in by_series(images)]
    low, high = np.percentile(np.concatenate(samples), preparation.percentiles).tolist()
    return [replace(record, low=low, high=high) for record in images]


def _body_sample(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values of the foreground: few enough that all series fit in memory and have similar weight."""
    body = values[foreground(values, *contrast(values))]
    return body[:: max(1, body.size // MAX_SAMPLE_OF_A_SERIES)].copy()  # a view would keep its whole series in memory


def _nothing_left(inventory: Inventory, num_nearly_empty: int, preparation: PreparationConfig) -> str:
    flat = list(inventory.reasons.values()).count(ONE_VALUE)
    if flat:
        return (
            f"the source: no image is left: {num_nearly_empty} nearly empty, and {flat} files of a series whose "
            "foreground has one value; add images, lower preparation.min_foreground or widen preparation.percentiles"
        )
    if isinstance(preparation.cut, PatchesConfig):
        return (
            f"the source: all {num_nearly_empty} patches of {preparation.size * preparation.cut.spacing_mm:g} mm are "
            "nearly empty, as happens when volumes are smaller than that; lower preparation.size, "
            "preparation.cut.spacing_mm or preparation.min_foreground"
        )
    return f"the source: all {num_nearly_empty} images are nearly empty; lower preparation.min_foreground"


def _alike(images: Sequence[ImageRecord], scratch: Scratch) -> list[tuple[int, int]]:
    """Return pairs of images that are (nearly) equal, unless all are of one patient.

    Patches are compared by the thumbnails of their volumes: the first one of a volume is paired with all of the other.
    """
    if len({record.who.draw for record in images}) == 1:
        return []
    numbers: dict[int, list[int]] = defaultdict(list)
    for number, record in enumerate(images):
        shape, row = (record.shape, record.row) if record.thumbnail is None else (THUMBNAIL, record.thumbnail)
        numbers[row].append(number)
    shown, rows, groups = scratch.pixels(shape), np.array(list(numbers)), list(numbers.values())
    bounds = np.array([(images[group[0]].low, images[group[0]].high) for group in groups], np.float32)
    low, high = bounds.T.reshape(2, -1, 1, 1, 1)
    # Clipped values, such as the surroundings of a CT, must not make images alike.
    pairs = duplicates(lambda places: np.clip(shown[rows[places]], low[places], high[places]), len(rows))
    return [(groups[one][0], number) for one, other in pairs for number in groups[other]]


def _shared(images: Sequence[ImageRecord], pairs: Sequence[tuple[int, int]]) -> set[int]:
    """Return the images to leave out because joining the patients who share them would leave too few to split."""
    own = [record.who.draw for record in images]
    if any(record.declared for record in images) or len(set(joined(own, pairs))) >= MIN_PATIENTS:
        return set()
    shared = {max(pair) for pair in pairs if own[pair[0]] != own[pair[1]]}
    left = {patient for number, patient in enumerate(own) if number not in shared}
    return shared if len(left) >= MIN_PATIENTS else set()


def _places(images: Sequence[ImageRecord], pairs: Sequence[tuple[int, int]]) -> list[Place]:
    """Return what decides the splits; patients who share a (nearly) equal image count as one."""
    patients = joined([record.who.draw for record in images], pairs)
    return [
        Place(
            patient=patient,
            label=record.label,
            normal=record.geometry.normal,
            position_mm=record.geometry.position_mm,
            frame_of_reference=record.who.frame_of_reference,
            declared=record.declared,
            official=record.official,
        )
        for record, patient in zip(images, patients, strict=True)
    ]


def _split(inventory: Inventory, places: Sequence[Place], preparation: PreparationConfig) -> list[SplitName | None]:
    try:
        return split_images(places, preparation.shares, gap_mm=preparation.gap_of_positions_mm)
    except SourceError as error:
        said = str(error)
        named, patients = (len({getattr(each.who, of) for each in inventory.images}) for of in ("patient", "draw"))
        if patients < named:
            said += (
                f"; {named} patients count as {patients}, because they share studies or frames of reference; if they "
                "are not the same people, give each UIDs of their own"
            )
        reasons = Counter(reason for reason in inventory.reasons.values() if reason != OUTSIDE)
        if reasons:
            reason, often = reasons.most_common(1)[0]
            said += f"; {reasons.total()} files were left out, most often ({often}): {reason}"
        raise SourceError(said) from None
