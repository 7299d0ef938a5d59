"""Which images train a model and which judge it: by patient, or by blocks of a single patient."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rayology.errors import SourceError

__all__ = [
    "MIN_PATIENTS",
    "SPLITS",
    "Place",
    "Shares",
    "SplitName",
    "leaking",
    "split_as_declared",
    "split_by_block",
    "split_by_patient",
    "split_images",
]

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

MIN_PATIENTS = 3
"""Fewest patients for which each split can have its own."""
PARALLEL = 0.99999
"""Least cosine between the normals of parallel slices, which diverge by less than 0.5 mm in 100 mm."""
NEAR_SHARES = 0.1
"""Most by which the share of a held-out block may be off."""
TOUCHING_MM = 1e-3
"""Most by which a gap may fall short, because files give positions as decimal strings."""

LAYOUTS: tuple[tuple[SplitName, ...], ...] = (
    ("train", "validation", "train", "test", "train"),
    ("validation", "train", "test"),
)
"""Orders of the blocks along the slices; held-out blocks inside the body resemble the rest, so they are tried first."""


@dataclass(frozen=True)
class Shares:
    """Shares of the patients, or of one patient's slices, that are held out."""

    validation: float
    test: float


@dataclass(frozen=True)
class Place:
    """What decides the split of an image."""

    patient: str
    """Name shared by images that must be in one split; its sort order is the lot."""
    label: str = ""
    normal: tuple[float, float, float] | None = None
    position_mm: float | None = None
    frame_of_reference: str = ""
    """Name shared by images whose positions are comparable."""
    declared: SplitName | None = None
    """Split that the source put it into."""
    official: bool = False
    """Whether that split was published with the images, so that it is kept even if it leaks."""


def split_images(places: Sequence[Place], shares: Shares, *, gap_mm: float) -> list[SplitName | None]:
    """Return the split of each image, None for dropped images; no split is empty.

    Raises:
        SourceError: there are fewer than three patients and their slices cannot be cut into blocks, or the splits that
            the user made leak or are incomplete.
    """
    if any(place.declared for place in places):
        return [*split_as_declared(places, shares)]
    if len({place.patient for place in places}) >= MIN_PATIENTS:
        split = split_by_patient(_labels_of_patients(places), shares)
        return [split[place.patient] for place in places]
    return split_by_block(places, shares, gap_mm=gap_mm)


def split_as_declared(places: Sequence[Place], shares: Shares) -> list[SplitName]:
    """Keep the splits that the source declares, and draw a missing held-out split from the training patients.

    Raises:
        SourceError: some images have no split, none trains, or a patient lies in two splits that are not official.
    """
    declared = [place.declared for place in places if place.declared]
    leaks = leaking(places)
    if len(declared) < len(places):
        raise SourceError(
            f"the source: {len(places) - len(declared)} of {len(places)} images have no split; give each of them one, "
            "or none"
        )
    if leaks and not all(place.official for place in places):
        raise SourceError(
            f"the source: {len(leaks)} images are of a patient in another split, or equal an image there; put all of "
            "a patient and all equal images into one split"
        )
    missing = {name for name in SPLITS if name not in declared}
    if not missing:
        return declared
    rows = [row for row in range(len(places)) if declared[row] == "train" and row not in leaks]
    labels = _labels_of_patients([places[row] for row in rows])
    if len(labels) < MIN_PATIENTS:
        raise SourceError(f"the source: too few images train to draw {' and '.join(sorted(missing))} from; add some")
    held_out = Shares(shares.validation * ("validation" in missing), shares.test * ("test" in missing))
    drawn = split_by_patient(labels, held_out)
    for row in rows:
        declared[row] = drawn[places[row].patient]
    return declared


def leaking(places: Sequence[Place]) -> set[int]:
    """Return the rows of images whose patient lies in several declared splits."""
    splits: dict[str, set[SplitName | None]] = defaultdict(set)
    for place in places:
        splits[place.patient].add(place.declared)
    return {row for row, place in enumerate(places) if len(splits[place.patient]) > 1}


def split_by_patient(labels: Mapping[str, str], shares: Shares) -> dict[str, SplitName]:
    """Return the split of each patient, given its label; a class with three patients is in every split of a share."""
    classes: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(labels):
        classes[labels[patient]].append(patient)
    rare = [patient for members in classes.values() if len(members) < MIN_PATIENTS for patient in members]
    groups = [*(members for members in classes.values() if len(members) >= MIN_PATIENTS), sorted(rare)]

    split: dict[str, SplitName] = dict.fromkeys(labels, "train")
    for group in groups:
        if len(group) >= MIN_PATIENTS:
            most = (len(group) - 1) // 2
            validation, test = (
                min(max(round(share * len(group)), 1), most) if share else 0
                for share in (shares.validation, shares.test)
            )
            split.update(dict.fromkeys(group[:validation], "validation"))
            split.update(dict.fromkeys(group[validation : validation + test], "test"))
    return split


def split_by_block(places: Sequence[Place], shares: Shares, *, gap_mm: float) -> list[SplitName | None]:
    """Cut each patient's slices into contiguous blocks that lie at least a gap apart.

    All series in a patient's largest frame of reference share its blocks. Slices of another frame, slices that are not
    parallel to most, and slices without a position are dropped, because they may show the anatomy of several blocks. A
    patient too short for blocks trains if another can be cut.

    Raises:
        SourceError: no patient can be cut.
    """
    split: list[SplitName | None] = [None] * len(places)
    uncut: list[int] = []
    spans_mm: list[float] = []
    for patient in sorted({place.patient for place in places}):
        rows = [row for row, place in enumerate(places) if place.patient == patient]
        comparable = _comparable(places, rows)
        positions = np.array([places[row].position_mm for row in comparable], np.float64)
        blocks = _blocks(positions, shares, gap_mm=gap_mm)
        if blocks is None:
            uncut += rows
            spans_mm += [float(np.ptp(positions))] if comparable else []
        else:
            for row, block in zip(comparable, blocks, strict=True):
                split[row] = block
    if len(uncut) == len(places):
        raise SourceError(_too_short(spans_mm, gap_mm))

    for row in uncut:
        split[row] = "train"
    return split


def _labels_of_patients(places: Sequence[Place]) -> dict[str, str]:
    """Return the commonest label of each patient."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for place in places:
        counts[place.patient][place.label] += 1
    return {patient: min(count, key=lambda label: (-count[label], label)) for patient, count in counts.items()}


def _comparable(places: Sequence[Place], rows: Sequence[int]) -> list[int]:
    """Return the largest group of parallel slices in one frame of reference, the first of equally large ones."""
    frames: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        frames[places[row].frame_of_reference].append(row)
    return max((_parallel(places, frame) for frame in frames.values()), key=len)


def _parallel(places: Sequence[Place], rows: Sequence[int]) -> list[int]:
    """Return the largest group of slices with a position and one normal, within a small angle."""
    placed = [row for row in rows if places[row].normal is not None and places[row].position_mm is not None]
    if not placed:
        return []
    normals = np.array([places[row].normal for row in placed], np.float64)
    axes = np.unique(normals, axis=0)
    members = np.abs(axes @ normals.T) > PARALLEL
    return [placed[index] for index in np.flatnonzero(members[members.sum(1).argmax()])]


def _blocks(positions: NDArray[np.float64], shares: Shares, *, gap_mm: float) -> list[SplitName | None] | None:
    """Return the block of each position, None in a gap; return None if some split would be empty.

    Take the first way to cut that is near the shares, else the nearest: the gaps may take most of few positions, such
    as those of large patches.
    """
    ways = [
        _cut(positions, layout, shares, gap_mm=gap_mm, is_midway=way) for layout in LAYOUTS for way in (True, False)
    ]
    whole = [blocks for blocks in ways if set(blocks) >= set(SPLITS)]
    near = (blocks for blocks in whole if _imbalance(blocks, shares) <= NEAR_SHARES)
    return next(near, min(whole, key=lambda blocks: _imbalance(blocks, shares), default=None))


def _cut(
    positions: NDArray[np.float64], layout: tuple[SplitName, ...], shares: Shares, *, gap_mm: float, is_midway: bool
) -> list[SplitName | None]:
    """Assign images to blocks of the given shares, and drop those in the gaps between blocks.

    A wall lies midway between two positions, or upon the training one: it alone is dropped if others lie half a gap
    away.
    """
    distinct, counts = np.unique(positions, return_counts=True)
    if len(distinct) < len(layout):
        return [None] * len(positions)
    train = (1 - shares.validation - shares.test) / layout.count("train")
    length = {"train": train, "validation": shares.validation, "test": shares.test}
    ends = np.cumsum([length[name] for name in layout])[:-1]
    before = np.concatenate([[0], np.cumsum(counts)]) / len(positions)
    # Every block gets at least one position of its own.
    first = [
        min(max(int(np.abs(before - end).argmin()), number + 1), len(distinct) - len(layout) + number + 1)
        for number, end in enumerate(ends)
    ]
    walls = np.array(
        [
            (distinct[index - 1] + distinct[index]) / 2 if is_midway else distinct[index - (name == "train")]
            for name, index in zip(layout[:-1], first, strict=True)
        ]
    )
    spare = gap_mm / 2 - TOUCHING_MM
    near = (np.abs(positions[:, None] - walls) < spare).any(1)
    block = np.searchsorted(walls, positions)
    return [None if dropped else layout[index] for index, dropped in zip(block, near, strict=True)]


def _imbalance(blocks: Sequence[SplitName | None], shares: Shares) -> float:
    """Return the most by which the share of a split is off."""
    counts = Counter(blocks)
    asked: dict[SplitName, float] = {"validation": shares.validation, "test": shares.test}
    return max(abs(counts[name] / (len(blocks) - counts[None]) - share) for name, share in asked.items())


def _too_short(spans_mm: Sequence[float], gap_mm: float) -> str:
    few = "fewer than three patients, of whom those who share a (nearly) equal image count as one"
    if not spans_mm:
        return (
            f"{few}, and no slice says where it lies (Image Position (Patient)), so nothing can be held out; add "
            "patients, or files with positions"
        )
    return (
        f"{few}, and images that start over {max(spans_mm):.1f} mm of one frame of reference cannot be cut into blocks "
        f"{gap_mm:g} mm apart; add patients, lower preparation.gap_mm or, of patches, preparation.size"
    )
