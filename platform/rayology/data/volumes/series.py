"""Split the frames of a series, in any order, into sorted parts without copies, repeats or mixtures.

The order is that of Image Position (Patient) along the normal of Image Orientation (Patient), DICOM PS3.3
C.7.6.2.1.1; Instance Number is never used.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations, pairwise, zip_longest
from operator import attrgetter, lt
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rayology.config import Config
from rayology.data.dicom.facts import NOTHING_KNOWN, Facts
from rayology.data.dicom.geometry import Geometry
from rayology.data.identity import Identity, Pseudonyms
from rayology.errors import SeriesError

__all__ = ["NO_SERIES", "Frame", "SeriesConfig", "listed_mm", "series_error", "split"]

SAME_MM = 0.01
"""Distance below which slices are at one position: files give at least hundredths of a millimetre."""
FAR_MM = 1e5
"""Distance from the scanner's centre that no slice reaches, and inverse of the smallest pixel, except by damage."""
COARSEST_MM = 100.0
"""Size that no pixel reaches, except by damage."""
NO_SERIES = "names no series (Series Instance UID), so nothing says which slices make a volume; write it into the files"
SAME_COSINE = 1e-3
"""Largest difference between direction cosines of parallel slices: 0.06 degrees."""
SAME_SPACING = 1e-3
"""Largest relative difference between pixel spacings of one volume."""
MAX_LISTED = 5
MAX_KINDS = 100
"""Most kinds of slices in a series, so that a folder of thousands is not compared for hours."""
TELLING = tuple(each.name for each in fields(Facts) if each.name != "indices")
"""Header facts that tell repeats of a position apart, the preferred first."""
MAX_TELLING = 8
"""Most facts that are tried together, so that a header that says much is not searched for hours."""


class SeriesConfig(Config):
    """Treatment of a series that is not a regular stack of slices."""

    mixed: Literal["refuse", "split"] = "refuse"
    """Several orientations, sizes, pixel spacings or frames of reference; split makes a volume of each."""
    repeats: Literal["refuse", "split"] = "split"
    """Positions that come again in another phase, echo, b-value or acquisition; split makes a volume of each."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """Slices that repeat position and pixels; drop keeps one of them."""
    missing: Literal["refuse", "fill"] = "refuse"
    """Gaps of missing slices; fill interpolates them and marks them as invalid."""
    irregular: Literal["refuse", "resample"] = "refuse"
    """Changing distances between slices; resample interpolates at the median distance."""
    tilt: Literal["refuse", "correct"] = "refuse"
    """Slices that shear against their normal, as under a tilted gantry; correct shifts them upright."""
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Largest deviation of a slice from its place, as a share of the distance between slices or pixels."""


@dataclass(frozen=True)
class Frame:
    """What is known about one frame without its pixels."""

    number: int
    """Order of the frame in its file."""
    study: str
    """Name, preferably a pseudonym, shared by all frames of a study."""
    series: str
    """Name shared by all frames of a series."""
    shape: tuple[int, int, int]
    """Channels, rows, columns."""
    geometry: Geometry
    frame_of_reference: str = ""
    """Name shared by frames whose positions are comparable."""
    facts: Facts = NOTHING_KNOWN
    digest: str = ""
    """Hash of the pixels, which tells a copy from a repeat; empty if they were not read."""
    file: Path = field(default=Path(), repr=False)
    """File that holds it; its name may name a patient, so it is in no message and no repr."""

    @classmethod
    def of(
        cls,
        pixels: NDArray[np.float32],
        who: Identity | Pseudonyms,
        *,
        number: int,
        geometry: Geometry,
        facts: Facts,
        file: Path = Path(),
    ) -> "Frame":
        """Return what is known about the frame that shows these pixels, (channels, rows, columns)."""
        channels, rows, columns = pixels.shape
        shape, digest = (channels, rows, columns), hashlib.sha256(pixels.tobytes()).hexdigest()
        return cls(number, who.study, who.series, shape, geometry, who.frame_of_reference, facts, digest, file)

    @property
    def is_placed(self) -> bool:
        """Whether the file says where every pixel lies."""
        place = self.geometry
        if place.cosines is None or place.corner_mm is None or place.spacing_mm is None:
            return False
        is_near = max(map(abs, place.corner_mm)) < FAR_MM
        return is_near and min(place.spacing_mm) > 1 / FAR_MM and max(place.spacing_mm) < COARSEST_MM


def split(frames: Sequence[Frame], rules: SeriesConfig) -> tuple[tuple[Frame, ...], ...]:
    """Split the frames of one series into parts of one layout and one repeat, each sorted along its normal.

    The order of the frames and the names of their files only decide which of two copies is kept.

    Raises:
        SeriesError: frames do not say where they lie, or the rules refuse what they mix.
    """
    unplaced = [frame for frame in frames if not frame.is_placed]
    if unplaced:
        raise series_error(
            f"{len(unplaced)} of {len(frames)} slices do not say where they lie (Image Position (Patient), Image "
            "Orientation (Patient), Pixel Spacing); leave them out",
            unplaced,
        )
    layouts = _layouts(frames)
    if len(layouts) > 1 and rules.mixed == "refuse":
        raise _mixed(layouts)
    return tuple(part for layout in layouts for part in _repeats(layout, rules))


def listed_mm(positions: Sequence[float]) -> str:
    """Format positions for a message, of which only a few are listed."""
    texts = list(dict.fromkeys(f"{position:.2f}" for position in positions))
    more = f" and {len(texts) - MAX_LISTED} more" if len(texts) > MAX_LISTED else ""
    return f"{', '.join(texts[:MAX_LISTED])} mm{more}"


def _layouts(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames that are parallel and of one size, spacing and frame of reference, the largest group first."""
    layouts: list[list[Frame]] = []
    by_place = sorted(frames, key=lambda each: (each.geometry.cosines or (), each.geometry.corner_mm or (), each.shape))
    for frame in by_place:
        for layout in layouts:
            if not _differences(layout[0], frame):
                layout.append(frame)
                break
        else:
            if len(layouts) == MAX_KINDS:
                raise series_error(
                    f"{len(frames)} slices are of more than {MAX_KINDS} kinds; leave the series out", frames
                )
            layouts.append([frame])
    return sorted(layouts, key=len, reverse=True)


def _differences(one: Frame, other: Frame) -> list[str]:
    """Return the differences because of which two frames cannot be slices of one volume."""
    turned = np.abs(np.array(one.geometry.cosines) - np.array(other.geometry.cosines)).max() > SAME_COSINE
    scaled = np.abs(np.array(one.geometry.spacing_mm) / np.array(other.geometry.spacing_mm) - 1).max() > SAME_SPACING
    found = {
        "orientation": turned,
        "size": one.shape != other.shape,
        "pixel spacing": scaled,
        "frame of reference": one.frame_of_reference != other.frame_of_reference,
    }
    return [name for name, differs in found.items() if differs]


def _mixed(layouts: Sequence[Sequence[Frame]]) -> SeriesError:
    names = dict.fromkeys(name for layout in layouts[1:] for name in _differences(layouts[0][0], layout[0]))
    counts = ", ".join(str(len(layout)) for layout in layouts)
    return series_error(
        f"slices differ in {' and '.join(names)}: {len(layouts)} kinds, of {counts} slices; leave all but one out, or "
        "set preparation.cut.series.mixed to split",
        [frame for layout in layouts[1:] for frame in layout],
    )


def _repeats(layout: Sequence[Frame], rules: SeriesConfig) -> tuple[tuple[Frame, ...], ...]:
    """Return the frames of a layout in spatial order, a part for each repeat of their positions."""
    places: list[list[Frame]] = []
    copies: list[Frame] = []
    for place in _places(layout):
        seen: set[object] = set()
        places.append([])
        for frame in place:
            content = (frame.facts, frame.geometry.corner_mm, frame.digest) if frame.digest else frame
            (copies if content in seen else places[-1]).append(frame)
            seen.add(content)
    if copies and rules.duplicates == "refuse":
        positions = _along_normal([layout[0], *copies])[1:].tolist()
        raise series_error(
            f"{len(copies)} of {len(layout)} slices repeat another with all its pixels, at {listed_mm(positions)}; "
            "remove them, or set preparation.cut.series.duplicates to drop",
            copies,
        )

    repeated = [place for place in places if len(place) > 1]
    if not repeated:
        return (tuple(frame for (frame,) in places),)
    parts = _told_apart(places) or _in_turn(places)
    if parts and rules.repeats == "split":
        return parts
    positions = _along_normal([layout[0], *(place[0] for place in repeated)])[1:].tolist()
    mend = "set preparation.cut.series.repeats to split" if parts else _untold(repeated)
    raise series_error(
        f"{len(repeated)} of {len(places)} positions hold several slices, at {listed_mm(positions)}; {mend}",
        [frame for place in repeated for frame in place],
    )


def _untold(repeated: Sequence[Sequence[Frame]]) -> str:
    """Say what of the headers differs at repeated positions although it does not make one volume of each repeat."""
    differing = [
        name.replace("_", " ")
        for name in (*TELLING, "indices")
        if any(len({getattr(frame.facts, name) for frame in place}) > 1 for place in repeated)
    ]
    told = f"{', '.join(differing)} differ, but not so that each repeat makes one volume"
    none = "none of the numbers, kinds and times in their headers tells them apart"
    return f"{told if differing else none}; give each repeat a series of its own, or leave the series out"


def _places(layout: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames at each position, in spatial order; those at one position in the order of their files."""
    positions = _along_normal(layout)
    places: list[list[Frame]] = []
    last = -np.inf
    for row in np.argsort(positions):
        if positions[row] - last > SAME_MM:
            places.append([])
            last = positions[row]
        places[-1].append(layout[row])
    return [sorted(place, key=lambda frame: (frame.file, frame.number)) for place in places]


def _along_normal(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Return how far each frame lies along the normal of the first, in mm towards the patient's left, back or head."""
    corners = np.array([frame.geometry.corner_mm for frame in frames])
    return np.asarray(corners @ np.array(frames[0].geometry.normal))


def _told_apart(places: Sequence[Sequence[Frame]]) -> tuple[tuple[Frame, ...], ...]:
    """Split repeats of positions by the fewest header facts that tell all apart; return nothing if none do.

    Facts do so if they make as many parts as the most repeated position has frames, and no part repeats a position. A
    number that counts slices does not.
    """
    most = max(map(len, places))
    frames = [(place, frame) for place, members in enumerate(places) for frame in members]
    columns = _columns([frame for _, frame in frames], most)
    for count in range(1, len(columns) + 1):
        for chosen in combinations(columns, count):
            keys = list(zip(*chosen, strict=True))
            if len(set(keys)) != most:
                continue
            parts: dict[tuple[float | None, ...], dict[int, Frame]] = defaultdict(dict)
            for key, (place, frame) in zip(keys, frames, strict=True):
                parts[key][place] = frame
            if sum(map(len, parts.values())) == len(frames):
                none_first = sorted(parts, key=lambda key: [(value is not None, value or 0.0) for value in key])
                return tuple(tuple(parts[key].values()) for key in none_first)
    return ()


def _columns(frames: Sequence[Frame], most: int) -> list[tuple[float | None, ...]]:
    """Return the values of each fact that may help to make so many parts, the preferred first.

    A fact with more values than parts counts something else, such as slices, and one that divides the frames as an
    earlier one does adds nothing.
    """
    told = [(*(getattr(frame.facts, name) for name in TELLING), *frame.facts.indices) for frame in frames]
    columns: dict[tuple[int, ...], tuple[float | None, ...]] = {}
    for values in zip_longest(*told):
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
        if 1 < len(numbers) <= most:
            columns.setdefault(tuple(numbers[value] for value in values), values)
    return list(columns.values())[:MAX_TELLING]


def _in_turn(places: Sequence[Sequence[Frame]]) -> tuple[tuple[Frame, ...], ...]:
    """Split repeats by their order on a clock that differs from slice to slice; return nothing if none orders all.

    Every position must come equally often. The phases of a heart beat are in turn at each position; of a time of day, a
    repeat must end before the next begins.
    """
    if len({len(place) for place in places}) > 1:
        return ()
    for clock in ("trigger_time_ms", "acquisition_time", "content_time"):
        time = attrgetter(f"facts.{clock}")
        if any(time(frame) is None for place in places for frame in place):
            continue
        turns = list(zip(*(sorted(place, key=time) for place in places), strict=True))
        if all(
            max(map(time, turn)) < min(map(time, later))
            or (clock == "trigger_time_ms" and all(map(lt, map(time, turn), map(time, later))))
            for turn, later in pairwise(turns)
        ):
            return tuple(turns)
    return ()


def series_error(message: str, frames: Sequence[Frame]) -> SeriesError:
    """Return an error about some frames, which knows their files."""
    return SeriesError(message, sorted({frame.file for frame in frames}))
