"""The place of a frame in the patient: spacing, direction, corner, and position along its normal."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from rayology.data.dicom.values import decimals, has, whole

__all__ = ["Geometry", "functional_group", "functional_groups", "geometry", "placed"]

SQUARE = 1e-3
"""Largest relative difference between height and width of a square pixel, because files round them."""
COSINE_ERROR = 0.01
"""Most by which products of cosines may be off, because some files round them to three digits."""


@dataclass(frozen=True)
class Geometry:
    """What is known about a frame's place; None if the file does not say."""

    spacing_mm: tuple[float, float] | None = None
    """Distance between rows, and between columns."""
    normal: tuple[float, float, float] | None = None
    """Unit normal of the slice, turned so that its largest component is positive."""
    position_mm: float | None = None
    """Image Position (Patient) projected on the normal (DICOM PS3.3 C.7.6.2.1.1)."""
    cosines: tuple[float, float, float, float, float, float] | None = None
    """Directions in which columns and rows count; None if they are not at a right angle."""
    corner_mm: tuple[float, float, float] | None = None
    """Image Position (Patient): centre of the first pixel, towards the patient's left, back and head."""
    aspect: float = 1.0
    """Height of a pixel over its width; 1 if they differ by rounding alone, or are not known."""


def geometry(dataset: Dataset, frame: int) -> Geometry:
    """Return the place of a frame, from its functional groups if there are any (DICOM PS3.3 C.7.6.16)."""
    groups = functional_groups(dataset, frame)
    measures = functional_group(groups, "PixelMeasuresSequence", dataset)
    spacing = (
        _lengths(measures, "PixelSpacing")
        or _lengths(dataset, "ImagerPixelSpacing")
        or _lengths(dataset, "NominalScannedPixelSpacing")
    )
    plane = functional_group(groups, "PlaneOrientationSequence", dataset)
    orientation = _numbers(plane, "ImageOrientationPatient", 6)
    # The attributes of the whole dataset place one frame, not many.
    is_one = (whole(dataset, "NumberOfFrames") or 1) == 1
    position = functional_group(groups, "PlanePositionSequence", dataset if is_one else Dataset())
    ratio = spacing or _lengths(dataset, "PixelAspectRatio") or (1.0, 1.0)
    return placed(orientation, _numbers(position, "ImagePositionPatient", 3), spacing, ratio)


def placed(
    orientation: Sequence[float] | None,
    corner: Sequence[float] | None,
    spacing: Sequence[float] | None,
    ratio: Sequence[float] = (1.0, 1.0),
) -> Geometry:
    """Return the place given by six cosines, a corner in mm, and spacing, or else ratio, of rows and columns."""
    normal = _normal(orientation)
    height, width = spacing or ratio
    return Geometry(
        spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        normal=normal,
        position_mm=sum(map(operator.mul, normal, corner)) if normal and corner else None,
        cosines=_right_angled(orientation),
        corner_mm=(corner[0], corner[1], corner[2]) if corner else None,
        aspect=height / width if abs(height / width - 1) > SQUARE else 1.0,
    )


def functional_groups(dataset: Dataset, frame: int) -> tuple[Dataset, ...]:
    """Return a frame's own groups, then those of all frames, if there are any (DICOM PS3.3 C.7.6.16.1)."""
    found = []
    for keyword, item in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        sequence = dataset.get(keyword) if has(dataset, keyword) else None
        if sequence and item < len(sequence):
            found.append(sequence[item])
    return tuple(found)


def functional_group(groups: Sequence[Dataset], name: str, otherwise: Dataset) -> Dataset:
    """Return the first group of a name, or else the dataset that has its attributes."""
    return next((group[name].value[0] for group in groups if group.get(name)), otherwise)


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    values = decimals(dataset, keyword)
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _lengths(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two positive numbers, of rows and columns; None for anything else."""
    values = _numbers(dataset, keyword, 2)
    return (values[0], values[1]) if values and min(values) > 0 else None


def _right_angled(orientation: Sequence[float] | None) -> tuple[float, float, float, float, float, float] | None:
    """Return the cosines if both are unit vectors at a right angle (DICOM PS3.3 C.7.6.2.1.1)."""
    if orientation is None:
        return None
    a, b, c, d, e, f = orientation
    errors = (a * a + b * b + c * c - 1, d * d + e * e + f * f - 1, a * d + b * e + c * f)
    return (a, b, c, d, e, f) if max(map(abs, errors)) <= COSINE_ERROR else None


def _normal(orientation: Sequence[float] | None) -> tuple[float, float, float] | None:
    """Return the unit normal of a plane, turned so that its largest component is positive."""
    if orientation is None:
        return None
    a, b, c, d, e, f = orientation
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.sqrt(x * x + y * y + z * z)
    if length < 0.5:  # the cosines should be at a right angle; these hardly span a plane
        return None
    scale = math.copysign(1 / length, max((x, y, z), key=abs))
    return (x * scale, y * scale, z * scale)
