"""Cut a volume into patches that cover all of it."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from rayology.data.volumes.volume import Triple, Volume, crop_or_pad, cut

__all__ = ["patches", "starts"]


def patches(volume: Volume, size: Triple, *, overlap: int = 0, fill: float) -> Iterator[Volume]:
    """Cut patches that cover every voxel, evenly from edge to edge; a smaller volume is padded about its centre."""
    room = crop_or_pad(volume, [max(pair) for pair in zip(volume.size, size, strict=True)], fill=fill)
    along = (starts(length, side, overlap=overlap) for length, side in zip(room.size, size, strict=True))
    for start in product(*along):
        yield cut(room, start, size)


def starts(length: int, side: int, *, overlap: int) -> list[int]:
    """Return where patches of a side start along an axis that is no shorter, so that none leaves a gap.

    >>> starts(10, 4, overlap=0)
    [0, 3, 6]
    """
    last = length - side
    count = -(-last // max(side - overlap, 1)) + 1
    return np.linspace(0, last, count).round().astype(int).tolist()
