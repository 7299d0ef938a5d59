"""Bring a volume to a spacing: interpolate where voxels shrink, average where they grow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayology.data.volumes.volume import Triple, Volume

__all__ = ["resample", "resampled_size"]

SAME_STEP = 1e-6
"""Share by which a spacing may differ from the volume's own and still be the same."""
NOTHING = 1e-6
"""Share of a voxel up to which an overlap is a rounding error."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """Old and new voxels along one axis, in units and indices of the old."""

    length: int
    """Number of old voxels."""
    step: float
    """Number of old voxels that make a new one."""

    @property
    def new_length(self) -> int:
        """Number of new voxels that cover the same extent, at least one."""
        return max(1, round(self.length / self.step))

    @property
    def first(self) -> float:
        """Centre of the first new voxel; the middle of the axis stays in place."""
        return (self.length - 1 - (self.new_length - 1) * self.step) / 2

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres of the new voxels, none beyond the outermost old centres."""
        return np.clip(self.first + np.arange(self.new_length) * self.step, 0, self.length - 1)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Edges of the new voxels, counted from the outer edge of the first old one."""
        return np.clip(self.first + 0.5 + (np.arange(self.new_length + 1) - 0.5) * self.step, 0, self.length)


def resample(volume: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Return the volume at a spacing of slices, rows and columns, around the same centre.

    Along an axis whose voxels shrink, values are interpolated linearly; along one whose voxels grow, they are averaged
    over the extent of the new voxel. Both leave a volume of that spacing unchanged, preserve linear ramps, and stay
    between neighbouring values; averages preserve the mean if the new voxels fill the old extent exactly. A voxel is
    valid if it overlaps no invalid one. The mask takes the nearest voxel.

    No intermediate array has more voxels than both the volume and the result.
    """
    pixels, invalid, mask, affine = volume.pixels, ~volume.valid[None], volume.mask, volume.affine.copy()
    has_holes = bool(invalid.any())
    for number, axis in _fewer_voxels_first(_axes(volume, spacing_mm)):
        pixels = _along(pixels, number, axis)
        if has_holes:
            invalid = _along(invalid.astype(np.float32), number, axis) > NOTHING
        if mask is not None:
            mask = np.take(mask, np.floor(axis.centres + 0.5).astype(np.intp), axis=number)
        affine[:3, 3] += affine[:3, number] * axis.first
        affine[:3, number] *= axis.step
    valid = ~invalid[0] if has_holes else np.ones(pixels.shape[1:], np.bool_)
    return Volume(np.ascontiguousarray(pixels), valid, affine, mask)


def resampled_size(volume: Volume, spacing_mm: tuple[float, float, float]) -> Triple:
    """Return the number of slices, rows and columns of a volume at a spacing."""
    slices, rows, columns = (axis.new_length for axis in _axes(volume, spacing_mm))
    return slices, rows, columns


def _axes(volume: Volume, spacing_mm: tuple[float, float, float]) -> list[Axis]:
    return [
        Axis(length, new_mm / old_mm)
        for length, old_mm, new_mm in zip(volume.size, volume.spacing_mm, spacing_mm, strict=True)
    ]


def _fewer_voxels_first(axes: Sequence[Axis]) -> list[tuple[int, Axis]]:
    """Return the axes that change with their numbers, first those that lose voxels, then those that gain some."""
    changed = [(number, axis) for number, axis in enumerate(axes) if abs(axis.step - 1) >= SAME_STEP]
    return sorted(changed, key=lambda each: each[1].step < 1)


def _along(values: Floats, number: int, axis: Axis) -> Floats:
    """Resample one of the three axes after the channels, plane by plane to save memory."""
    loop = 2 if number == 0 else 1
    planes = np.moveaxis(values, (loop, 1 + number), (0, 2))
    change = _averaged if axis.step > 1 else _interpolated
    changed = np.empty((*planes.shape[:2], axis.new_length, planes.shape[3]), np.float32)
    for plane, new in zip(planes, changed, strict=True):
        new[:] = change(plane, axis)
    return np.moveaxis(changed, (0, 2), (loop, 1 + number))


def _interpolated(values: Floats, axis: Axis) -> Floats:
    """Interpolate the second of three axes linearly at the centres of the new voxels."""
    below = axis.centres.astype(np.intp)
    above = np.minimum(below + 1, axis.length - 1)
    share = (axis.centres - below).astype(np.float32)[:, None]
    return values[:, below] * (1 - share) + values[:, above] * share


def _averaged(values: Floats, axis: Axis) -> NDArray[np.float64]:
    """Average the second of three axes over the extents of the new voxels.

    Inside an old voxel values rise linearly around its own (van Leer 1977, second-order remapping). Constant values
    would move a ramp by up to an eighth of a voxel.
    """
    integral = np.zeros((values.shape[0], axis.length + 1, values.shape[2]))
    np.cumsum(values, axis=1, dtype=np.float64, out=integral[:, 1:])

    voxel = np.minimum(axis.edges.astype(np.intp), axis.length - 1)
    part = (axis.edges - voxel)[:, None]
    at_edges = integral[:, voxel] + values[:, voxel] * part + _rises(values, voxel) * (part * (part - 1) / 2)
    return np.diff(at_edges, axis=1) / np.diff(axis.edges)[:, None]


def _rises(values: Floats, voxel: NDArray[np.intp]) -> Floats:
    """Return how much values rise inside voxels, never past a neighbour (van Leer 1977, monotone and central)."""
    here = values[:, voxel]
    before = here - values[:, np.maximum(voxel - 1, 0)]
    after = values[:, np.minimum(voxel + 1, values.shape[1] - 1)] - here
    most = 2 * np.maximum(np.minimum(before, after), 0)
    least = 2 * np.minimum(np.maximum(before, after), 0)
    return np.clip((before + after) / 2, least, most)
