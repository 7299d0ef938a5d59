"""Fit parallel slices to the grid of a volume: find gaps, uneven distances and tilt, and refuse or mend them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom.geometry import Geometry
from rayology.data.volumes.series import Frame, SeriesConfig, listed_mm, series_error, split
from rayology.data.volumes.volume import Triple
from rayology.errors import SeriesError

__all__ = ["COPY", "Arranged", "Stack", "arrange", "stack"]

COPY = "repeats another slice with all its pixels (preparation.cut.series.duplicates)"

TILT_DEG = 0.1
"""Least tilt that counts; below it the cosines are rounded, so the affine follows the slices and no pixel moves."""
ROUNDING = 6
"""Decimals of places and offsets, in slices and pixels."""
WIDE = 2.5
"""Median distances beyond which a gap means missing slices, not a change of distance."""
MAX_GROWTH = 3
"""Most by which a tilt may enlarge rows or columns, as a multiple of them."""

Vectors = NDArray[np.float64]
"""Vectors in mm, (number, 3)."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices that make a volume, and the grid that they are brought to."""

    frames: tuple[Frame, ...]
    """Frames in spatial order."""
    affine: NDArray[np.float64]
    """Affine of the volume, as in ``Volume.affine``."""
    size: Triple
    """Slices, rows and columns of the volume."""
    places: NDArray[np.float64]
    """Position of each of the volume's slices among the frames: 1.5 is midway between the second and the third."""
    is_filled: NDArray[np.bool_]
    """Whether each of the volume's slices replaces a missing one."""
    offsets: NDArray[np.float64]
    """Row and column of the volume at which the first pixel of each frame lies, (frames, 2)."""
    mended: tuple[str, ...]
    """What was wrong with the slices and is mended."""


@dataclass(frozen=True)
class Arranged:
    """Stacks of the frames of many series, and what became of the rest."""

    stacks: tuple[Stack, ...]
    refused: tuple[SeriesError, ...]
    """Errors, one for each series or part of one that makes no volume."""
    left_out: tuple[tuple[Frame, str], ...]
    """Frames in no stack, each with the reason: why its series was refused, or that the rules drop it."""


@dataclass(frozen=True)
class Problem:
    """A problem of slices, and whether the rules mend it."""

    text: str
    mend: str
    """Advice that mends it."""
    is_mended: bool


@dataclass(frozen=True, eq=False)
class Course:
    """Even positions along the normal for the slices of a volume, among those of the frames."""

    first_mm: float
    spacing_mm: float
    places: NDArray[np.float64]
    is_filled: NDArray[np.bool_]
    problem: Problem | None = None


def arrange(frames: Sequence[Frame], rules: SeriesConfig) -> Arranged:
    """Make stacks of the frames of any number of series; a failing series does not stop the others."""
    members: dict[tuple[str, str], list[Frame]] = defaultdict(list)
    for frame in frames:
        members[frame.study, frame.series].append(frame)

    stacks: list[Stack] = []
    refused: list[SeriesError] = []
    left_out: list[tuple[Frame, str]] = []

    def refuse(error: SeriesError, frames: Sequence[Frame]) -> None:
        refused.append(error)
        left_out.extend((frame, str(error)) for frame in frames)

    for series in members.values():
        try:
            parts = split(series, rules)
        except SeriesError as error:
            refuse(error, series)
            continue
        kept = {frame for part in parts for frame in part}
        left_out += [(frame, COPY) for frame in series if frame not in kept]
        for part in parts:
            try:
                stacks.append(stack(part, rules))
            except SeriesError as error:
                refuse(error, part)
    return Arranged(tuple(stacks), tuple(refused), tuple(left_out))


def stack(frames: Sequence[Frame], rules: SeriesConfig) -> Stack:
    """Return the grid of the volume of parallel slices of one size, such as ``split`` returns.

    Raises:
        SeriesError: there are fewer than two slices, or the rules refuse their gaps, distances or tilt.
    """
    if len(frames) < 2:
        raise series_error("a single slice makes no volume; leave it out", frames)
    normal = np.array(frames[0].geometry.normal)
    frames = sorted(frames, key=lambda frame: float(normal @ np.array(frame.geometry.corner_mm)))
    corners = np.array([frame.geometry.corner_mm for frame in frames])
    steps = _steps(frames[0].geometry)

    course = _course(corners @ normal, rules)
    drift = _drift(corners, normal)
    lean = _lean(corners, normal, drift, steps, rules)
    problems = [problem for problem in (course.problem, lean) if problem]
    unmended = [f"{problem.text}; {problem.mend}" for problem in problems if not problem.is_mended]
    if unmended:
        raise series_error(f"{len(frames)} slices: {'; '.join(unmended)}", frames)

    direction = normal if lean else drift
    strays = _strays(corners, normal, direction) @ np.linalg.pinv(steps) if lean else np.zeros((len(frames), 2))
    before = strays.min(0)
    offsets = (strays - before).round(ROUNDING)
    more_rows, more_columns = np.ceil(offsets.max(0)).astype(int).tolist()
    _, rows, columns = frames[0].shape
    if more_rows > MAX_GROWTH * rows or more_columns > MAX_GROWTH * columns:
        far = f"{problems[-1].text}, far beyond their size; leave the series out"
        raise series_error(f"{len(frames)} slices: {far}", frames)

    affine = np.eye(4)
    affine[:3, :3] = np.stack([direction * course.spacing_mm, *steps], axis=1)
    affine[:3, 3] = corners.mean(0) + (course.first_mm - (corners @ normal).mean()) * direction + before @ steps
    return Stack(
        frames=tuple(frames),
        affine=affine,
        size=(len(course.places), rows + more_rows, columns + more_columns),
        places=course.places,
        is_filled=course.is_filled,
        offsets=offsets,
        mended=tuple(problem.text for problem in problems),
    )


def _steps(geometry: Geometry) -> Vectors:
    """Return the steps from row to row and from column to column (DICOM PS3.3 C.7.6.2.1.1, Y and X)."""
    x, y = np.array(geometry.cosines).reshape(2, 3)
    between_rows, between_columns = np.array(geometry.spacing_mm)
    return np.stack([y * between_rows, x * between_columns])


def _drift(corners: Vectors, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how corners move per millimetre along the normal, by least squares; the normal itself if upright."""
    heights = corners @ normal - (corners @ normal).mean()
    return np.asarray(heights @ (corners - corners.mean(0)) / (heights @ heights))


def _strays(corners: Vectors, normal: NDArray[np.float64], direction: NDArray[np.float64]) -> Vectors:
    """Return how far corners lie from the line through their mean."""
    heights = corners @ normal - (corners @ normal).mean()
    return corners - corners.mean(0) - np.outer(heights, direction)


def _lean(
    corners: Vectors, normal: NDArray[np.float64], drift: NDArray[np.float64], steps: Vectors, rules: SeriesConfig
) -> Problem | None:
    """Return the problem of slices that are shifted in their plane: by a tilt, or each differently."""
    tilt_deg = float(np.degrees(np.arctan(np.linalg.norm(drift - normal))))
    stray_mm = float(np.linalg.norm(_strays(corners, normal, drift), axis=1).max())
    mend, is_mended = "set preparation.cut.series.tilt to correct", rules.tilt == "correct"
    if tilt_deg > TILT_DEG:
        return Problem(f"they shear against their normal by {tilt_deg:.1f} degrees", mend, is_mended)
    if stray_mm > rules.tolerance * float(np.linalg.norm(steps, axis=1).min()):
        return Problem(f"they are shifted by up to {stray_mm:.2f} mm in their plane", mend, is_mended)
    return None


def _course(heights: NDArray[np.float64], rules: SeriesConfig) -> Course:
    """Find the even distance of the slices, apart from missing ones, or else the distance to resample at."""
    numbers = _numbers(np.diff(heights))
    spacing, first = np.polyfit(numbers, heights, 1)
    num_missing = int(numbers[-1]) + 1 - len(heights)
    strays = np.abs(first + numbers * spacing - heights)
    if num_missing > len(heights) or strays.max() > rules.tolerance * spacing:
        return _uneven_course(heights, rules)

    everywhere = np.arange(numbers[-1] + 1)
    is_filled = ~np.isin(everywhere, numbers)
    where_mm = (first + everywhere[is_filled] * spacing).tolist()
    missing = Problem(
        f"{num_missing} more {'are' if num_missing > 1 else 'is'} missing between them, at {listed_mm(where_mm)}",
        "add their files, or set preparation.cut.series.missing to fill",
        is_mended=rules.missing == "fill",
    )
    places = np.interp(everywhere, numbers, np.arange(len(heights)))
    return Course(float(first), float(spacing), places, is_filled, missing if num_missing else None)


def _uneven_course(heights: NDArray[np.float64], rules: SeriesConfig) -> Course:
    """Resample at the median distance; slices in wide gaps are missing, and most must not be."""
    gaps = np.diff(heights)
    spacing = float(np.median(gaps))
    count = int((heights[-1] - heights[0]) / spacing + 10**-ROUNDING) + 1
    text = f"their distances vary from {gaps.min():.2f} to {gaps.max():.2f} mm"
    if count > 2 * len(heights):
        problem = Problem(text, "they are not one stack; leave out those that lie apart", is_mended=False)
        return Course(0.0, spacing, heights, np.zeros(len(heights), np.bool_), problem)

    places = np.interp(heights[0] + np.arange(count) * spacing, heights, np.arange(len(heights))).round(ROUNDING)
    is_wide = gaps > WIDE * spacing
    is_filled = np.append(is_wide, [False])[places.astype(np.intp)] & (places % 1 > 0)
    mend = "set preparation.cut.series.irregular to resample" + " and preparation.cut.series.missing to fill" * bool(
        is_filled.any()
    )
    is_mended = rules.irregular == "resample" and (rules.missing == "fill" or not is_filled.any())
    return Course(float(heights[0]), spacing, places, is_filled, Problem(text, mend, is_mended))


def _numbers(gaps: NDArray[np.float64]) -> NDArray[np.intp]:
    """Number slices by multiples of the usual gap, the mean of the gaps in which no slice can be missing."""
    usual = gaps[gaps < 1.5 * gaps.min()].mean()
    return np.concatenate([[0], np.cumsum(np.rint(gaps / usual))]).astype(np.intp)
