"""A volume with its place in the patient, and operations that keep it: orient, cut, crop and pad."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from rayology.data.dicom.geometry import Geometry, placed

__all__ = ["Triple", "Turn", "Volume", "crop_or_pad", "cut", "orient", "patches", "starts", "turn", "turn_to_lps"]

Triple = tuple[int, int, int]
WORLD_OF_AXES = (2, 1, 0)
"""Number of the patient's axis (left, back, head) along which slices, rows and columns of an oriented volume count."""


@dataclass(frozen=True)
class Volume:
    """Pixels on a regular grid, and its place in the patient."""

    pixels: NDArray[np.float32]
    """Values in modality units, (channels, slices, rows, columns)."""
    valid: NDArray[np.bool_]
    """Voxels that were measured, not padded, filled or outside, (slices, rows, columns)."""
    affine: NDArray[np.float64]
    """Matrix of 4 x 4 from the index (slice, row, column, 1) of a voxel to its centre in mm towards left, back and head
    (LPS, DICOM PS3.3 C.7.6.2.1.1)."""
    mask: NDArray[np.uint8] | None = None
    """Class of each voxel, 0 for none, (slices, rows, columns)."""

    @property
    def size(self) -> Triple:
        """Slices, rows and columns."""
        slices, rows, columns = self.valid.shape
        return slices, rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between slices, rows and columns."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices, rows, columns

    @property
    def geometry(self) -> Geometry:
        """Place of its first slice, as a header would give it."""
        _, rows, columns = (self.affine[:3, :3] / self.spacing_mm).T.tolist()
        return placed([*columns, *rows], self.affine[:3, 3].tolist(), self.spacing_mm[1:])

    def positions_mm(self, indices: NDArray[np.intp] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions of voxels in the patient; indices and positions are (..., 3)."""
        return np.asarray(indices @ self.affine[:3, :3].T + self.affine[:3, 3])


@dataclass(frozen=True)
class Turn:
    """A permutation of a volume's axes followed by flips."""

    axes: Triple
    """Number of the old axis that becomes each new one."""
    flipped: tuple[bool, bool, bool]
    """Whether each new axis counts backwards."""

    @property
    def inverse(self) -> "Turn":
        """Turn that undoes this one."""
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
    """Crop and pad to a size around the centre; nothing moves in the patient, and new voxels are invalid."""
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


def patches(volume: Volume, size: Triple, *, overlap: int = 0, fill: float) -> Iterator[Volume]:
    """Yield patches that cover all voxels, evenly from edge to edge; a smaller volume is padded around its centre."""
    room = crop_or_pad(volume, [max(pair) for pair in zip(volume.size, size, strict=True)], fill=fill)
    along = (starts(length, side, overlap=overlap) for length, side in zip(room.size, size, strict=True))
    for start in product(*along):
        yield cut(room, start, size)


def starts(length: int, side: int, *, overlap: int) -> list[int]:
    """Return the starts of patches of a side along an axis that is at least as long, without gaps.

    >>> starts(10, 4, overlap=0)
    [0, 3, 6]
    """
    last = length - side
    count = -(-last // max(side - overlap, 1)) + 1
    return np.linspace(0, last, count).round().astype(int).tolist()


def _moved(affine: NDArray[np.float64], start: Sequence[int]) -> NDArray[np.float64]:
    """Return the affine of the grid whose first voxel is the one at ``start``."""
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.array(start)
    return moved
