"""Cut a volume into training items: slices along an axis, or patches that cover all of it."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from rayology.data.volume import Triple, Volume, crop_or_pad, cut

__all__ = ["patches", "slices", "starts"]


def slices(volume: Volume, axis: int) -> Iterator[Volume]:
    """Cut volumes of one slice along an axis of the index: 0 axial, 1 coronal, 2 sagittal where it is oriented."""
    size = list(volume.size)
    size[axis] = 1
    for number in range(volume.size[axis]):
        start = [0, 0, 0]
        start[axis] = number
        yield cut(volume, start, size)


def patches(
    volume: Volume, size: Triple, *, overlap: int = 0, fill: float, generator: np.random.Generator | None = None
) -> Iterator[Volume]:
    """Cut patches that together cover every voxel; a volume smaller than a patch is padded about its centre.

    Without a generator they lie evenly, from edge to edge; with one the grid starts at random, so that each epoch
    cuts elsewhere.
    """
    room = crop_or_pad(volume, [max(pair) for pair in zip(volume.size, size, strict=True)], fill=fill)
    along = (
        starts(length, side, overlap=overlap, generator=generator) for length, side in zip(room.size, size, strict=True)
    )
    for start in product(*along):
        yield cut(room, start, size)


def starts(length: int, side: int, *, overlap: int, generator: np.random.Generator | None = None) -> list[int]:
    """Return where patches of a side start along an axis that is no shorter, so that none leaves a gap.

    >>> starts(10, 4, overlap=0)
    [0, 3, 6]
    """
    stride = max(side - overlap, 1)
    last = length - side
    if generator is None:
        count = -(-last // stride) + 1
        return np.linspace(0, last, count).round().astype(int).tolist()
    first = int(generator.integers(stride))
    return sorted({min(max(start, 0), last) for start in range(-first, last + stride, stride)})
