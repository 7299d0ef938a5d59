"""Assemble the pixels of a stack into its volume."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rayology.data.volumes.stack import Stack
from rayology.data.volumes.volume import Volume

__all__ = ["assemble"]

Floats = NDArray[np.float32]
T = TypeVar("T", np.float32, np.uint8)


def assemble(
    stack: Stack,
    pixels: Sequence[Floats],
    valid: Sequence[NDArray[np.bool_]],
    masks: Sequence[NDArray[np.uint8]] | None = None,
) -> Volume:
    """Return the volume of a stack, given the contents of its frames in their order.

    Pixels are (channels, rows, columns); valid and masks are (rows, columns). Tilted or unevenly spaced slices are
    interpolated linearly, and masks take the nearest slice. A voxel is invalid outside all slices, where a slice is
    missing, and where an invalid pixel contributes.
    """
    lowest = [plane[:, where].min() for plane, where in zip(pixels, valid, strict=True) if where.any()]
    fill = float(min(lowest, default=0.0))
    return Volume(
        pixels=_interpolated(stack, pixels, fill),
        valid=_measured(stack, valid),
        affine=stack.affine,
        mask=None if masks is None else _nearest(stack, masks),
    )


def _interpolated(stack: Stack, pixels: Sequence[Floats], fill: float) -> Floats:
    planes = [_slid(plane, offset, stack.size[1:], fill) for plane, offset in zip(pixels, stack.offsets, strict=True)]
    voxels = np.empty((len(pixels[0]), *stack.size), np.float32)
    for number, place in enumerate(stack.places.tolist()):
        voxels[:, number] = _between(planes, place)
    return voxels


def _nearest(stack: Stack, masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    offsets = np.floor(stack.offsets + 0.5)
    planes = [_slid(plane, offset, stack.size[1:], 0) for plane, offset in zip(masks, offsets, strict=True)]
    return np.stack([planes[int(place + 0.5)] for place in stack.places])


def _measured(stack: Stack, valid: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return where a voxel is made only of valid pixels."""
    size = stack.size[1:]
    measured = np.empty(stack.size, np.bool_)
    measured[:] = ~stack.is_filled[:, None, None]
    if all(where.shape == size and where.all() for where in valid):  # usual series have no holes to slide
        return measured
    holes = [
        _slid((~where).astype(np.float32), offset, size, 1.0)
        for where, offset in zip(valid, stack.offsets, strict=True)
    ]
    for number, place in enumerate(stack.places.tolist()):
        measured[number] &= _between(holes, place) == 0
    return measured


def _slid(values: NDArray[T], offset: NDArray[np.float64], size: tuple[int, int], fill: float) -> NDArray[T]:
    """Slide (..., rows, columns) to an offset in a plane of a size, linearly if it is not a whole number."""
    for axis, start, length in zip((-2, -1), offset, size, strict=True):
        whole = int(start)
        part = float(start) - whole
        slid = _placed(values, axis, whole, length, fill)
        if part:
            slid = slid * (1 - part) + _placed(values, axis, whole + 1, length, fill) * part
        values = slid
    return values


def _placed(values: NDArray[T], axis: int, start: int, length: int, fill: float) -> NDArray[T]:
    if values.shape[axis] == length:
        return values
    pads = [(0, 0)] * values.ndim
    pads[axis] = (start, length - start - values.shape[axis])
    return np.pad(values, pads, constant_values=fill)


def _between(planes: Sequence[Floats], place: float) -> Floats:
    below = int(place)
    share = place - below
    return planes[below] * (1 - share) + planes[below + 1] * share if share else planes[below]
