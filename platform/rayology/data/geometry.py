"""Where a frame lies in the patient: spacing, direction, corner, and position along its normal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

__all__ = ["Geometry", "functional_group", "geometry", "placed"]

COSINE_ERROR = 0.01
"""How far the products of the cosines may be off: some files round them to three digits."""


@dataclass(frozen=True)
class Geometry:
    """What is known of a frame's place; None where the file does not say."""

    spacing_mm: tuple[float, float] | None = None
    """Between rows, and between columns."""
    normal: tuple[float, float, float] | None = None
    """The slice's unit normal, turned so that its largest component is positive."""
    position_mm: float | None = None
    """Image Position (Patient) projected on the normal (DICOM PS3.3 C.7.6.2.1.1)."""
    cosines: tuple[float, float, float, float, float, float] | None = None
    """The direction in which columns count, then that in which rows count; None where they span no right angle."""
    corner_mm: tuple[float, float, float] | None = None
    """Image Position (Patient): the centre of the first pixel, towards the patient's left, back and head."""


def geometry(dataset: Dataset, frame: int) -> Geometry:
    """Return the place of a frame, from its functional groups where there are any (DICOM PS3.3 C.7.6.16)."""
    measures = functional_group(dataset, frame, "PixelMeasuresSequence")
    spacing = _numbers(measures, "PixelSpacing", 2) or _numbers(dataset, "ImagerPixelSpacing", 2)
    plane = functional_group(dataset, frame, "PlaneOrientationSequence")
    orientation = _numbers(plane, "ImageOrientationPatient", 6)
    corner = _numbers(functional_group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    return placed(orientation, corner, spacing)


def placed(
    orientation: Sequence[float] | None, corner: Sequence[float] | None, spacing: Sequence[float] | None
) -> Geometry:
    """Return the place that six direction cosines, a corner in mm and the spacing of rows and columns make."""
    normal = _normal(orientation)
    return Geometry(
        spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        normal=(float(normal[0]), float(normal[1]), float(normal[2])) if normal is not None else None,
        position_mm=float(normal @ np.array(corner)) if normal is not None and corner else None,
        cosines=_right_angled(orientation),
        corner_mm=(corner[0], corner[1], corner[2]) if corner else None,
    )


def functional_group(dataset: Dataset, frame: int, name: str) -> Dataset:
    """Return a frame's own group, else the shared one, else the dataset itself (DICOM PS3.3 C.7.6.16.1)."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (own[frame : frame + 1], shared[:1]):
        if groups and groups[0].get(name):
            return groups[0][name].value[0]
    # The attributes of the whole dataset place one frame, not many.
    if name == "PlanePositionSequence" and int(dataset.get("NumberOfFrames") or 1) > 1:
        return Dataset()
    return dataset


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        values: Sequence[float] = [float(value) for value in dataset.get(keyword) or ()]
    except (TypeError, ValueError):
        return None
    return tuple(values) if len(values) == count and all(map(math.isfinite, values)) else None


def _right_angled(orientation: Sequence[float] | None) -> tuple[float, float, float, float, float, float] | None:
    """Return the cosines where both are unit vectors at a right angle, as DICOM PS3.3 C.7.6.2.1.1 wants them."""
    if orientation is None:
        return None
    axes = np.array(orientation).reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > COSINE_ERROR:
        return None
    a, b, c, d, e, f = orientation
    return (a, b, c, d, e, f)


def _normal(orientation: Sequence[float] | None) -> NDArray[np.float64] | None:
    if orientation is None:
        return None
    normal = np.cross(orientation[:3], orientation[3:]).astype(np.float64)
    length = float(np.linalg.norm(normal))
    if length < 0.5:  # the cosines should span a right angle; those that do not are no plane
        return None
    return normal * (np.sign(normal[np.abs(normal).argmax()]) / length)
