"""A volume with its place in the patient, and the verbs that keep it there: orient, cut, crop and pad."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom.geometry import Geometry, placed

__all__ = ["Triple", "Turn", "Volume", "crop_or_pad", "cut", "orient", "turn", "turn_to_lps"]

Triple = tuple[int, int, int]
WORLD_OF_AXES = (2, 1, 0)
"""The patient's axis (left, back, head) along which slices, rows and columns of an oriented volume count."""


@dataclass(frozen=True)
class Volume:
    """Pixels on a regular grid, and where it lies in the patient."""

    pixels: NDArray[np.float32]
    """(channels, slices, rows, columns) in modality units."""
    valid: NDArray[np.bool_]
    """(slices, rows, columns): where a value was measured, not padded, filled or outside."""
    affine: NDArray[np.float64]
    """4 x 4, from the index (slice, row, column, 1) of a voxel to its centre in mm towards left, back and head (LPS,
    DICOM PS3.3 C.7.6.2.1.1)."""
    mask: NDArray[np.uint8] | None = None
    """(slices, rows, columns): the class of each voxel, 0 for none."""

    @property
    def size(self) -> Triple:
        """Slices, rows and columns."""
        slices, rows, columns = self.valid.shape
        return slices, rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices, rows, columns

    @property
    def geometry(self) -> Geometry:
        """Where its first slice lies, as the header of one would say."""
        _, rows, columns = (self.affine[:3, :3] / self.spacing_mm).T.tolist()
        return placed([*columns, *rows], self.affine[:3, 3].tolist(), self.spacing_mm[1:])

    def positions_mm(self, indices: NDArray[np.intp] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where voxels (..., 3) lie in the patient (..., 3)."""
        return np.asarray(indices @ self.affine[:3, :3].T + self.affine[:3, 3])


@dataclass(frozen=True)
class Turn:
    """A permutation of a volume's axes followed by flips."""

    axes: Triple
    """Which old axis each new one is."""
    flipped: tuple[bool, bool, bool]
    """Whether the new axis counts backwards."""

    @property
    def inverse(self) -> "Turn":
        """The turn that undoes this one."""
        first, second, third = (self.axes.index(axis) for axis in range(3))
        return Turn((first, second, third), (self.flipped[first], self.flipped[second], self.flipped[third]))


def turn_to_lps(affine: NDArray[np.float64]) -> Turn:
    """Return the turn after which columns count most to the left, rows to the back and slices to the head."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)

    def agreement(axes: Triple) -> float:
        return float(np.abs(directions[WORLD_OF_AXES, axes]).sum())

    axes = max(((a, b, c) for a, b, c in permutations(range(3))), key=agreement)
    first, second, third = (directions[WORLD_OF_AXES, axes] < 0).tolist()
    return Turn(axes, (first, second, third))


def turn(volume: Volume, by: Turn) -> Volume:
    """Turn a volume without moving any voxel in the patient; the arrays are views."""
    flips = tuple(axis for axis, flipped in enumerate(by.flipped) if flipped)

    old_of_new = np.zeros((4, 4))
    old_of_new[3, 3] = 1
    for new, (old, flipped) in enumerate(zip(by.axes, by.flipped, strict=True)):
        old_of_new[old, new] = -1 if flipped else 1
        old_of_new[old, 3] = volume.size[old] - 1 if flipped else 0
    return Volume(
        pixels=np.flip(volume.pixels.transpose(0, *(1 + axis for axis in by.axes)), tuple(1 + axis for axis in flips)),
        valid=np.flip(volume.valid.transpose(by.axes), flips),
        affine=volume.affine @ old_of_new,
        mask=None if volume.mask is None else np.flip(volume.mask.transpose(by.axes), flips),
    )


def orient(volume: Volume) -> Volume:
    """Turn a volume to left, back and head; ``turn`` by the inverse of ``turn_to_lps`` undoes it exactly."""
    return turn(volume, turn_to_lps(volume.affine))


def cut(volume: Volume, start: Sequence[int], size: Sequence[int]) -> Volume:
    """Return the part of a volume from an index (slice, row, column) on; the arrays are views."""
    box = tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
    return Volume(
        pixels=volume.pixels[:, *box],
        valid=volume.valid[box],
        affine=_moved(volume.affine, start),
        mask=None if volume.mask is None else volume.mask[box],
    )


def crop_or_pad(volume: Volume, size: Sequence[int], *, fill: float) -> Volume:
    """Crop and pad to a size about the centre; nothing moves in the patient, and what is new is invalid."""
    excess = [length - wanted for length, wanted in zip(volume.size, size, strict=True)]
    kept = [min(length, wanted) for length, wanted in zip(volume.size, size, strict=True)]
    cropped = cut(volume, [max(each, 0) // 2 for each in excess], kept)

    before = [max(-each, 0) // 2 for each in excess]
    pads = [(first, max(-each, 0) - first) for first, each in zip(before, excess, strict=True)]
    return Volume(
        pixels=np.pad(cropped.pixels, [(0, 0), *pads], constant_values=fill),
        valid=np.pad(cropped.valid, pads),
        affine=_moved(cropped.affine, [-first for first in before]),
        mask=None if cropped.mask is None else np.pad(cropped.mask, pads),
    )


def _moved(affine: NDArray[np.float64], start: Sequence[int]) -> NDArray[np.float64]:
    """Return the affine of the grid whose first voxel is the one at ``start``."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array(start)
    return moved
