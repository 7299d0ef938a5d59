"""A patient from a seed: build, chest, lesion and noise, each from its own stream of random numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayology.phantom.anatomy import draw_thorax
from rayology.phantom.lesions import LESIONS
from rayology.phantom.physique import Physique
from rayology.phantom.scanner import draw_noise, place
from rayology.phantom.shapes import Field, painted

__all__ = ["HEALTHY", "Drawing", "draw_patient"]

HEALTHY = "healthy"
"""The lesion of a patient who has none."""


@dataclass(frozen=True)
class Drawing:
    """A drawn volume: slices from the feet to the head, rows from front to back, columns from right to left."""

    hu: Field
    mask: NDArray[np.bool_]
    """Where the lesion fills at least half of a voxel."""
    heights_mm: Field
    """The position of each slice along the body."""


def draw_patient(seed: tuple[int, int], *, lesion: str, size: int, slices: int) -> Drawing:
    """Draw a patient whose anatomy and noise are the same whatever the lesion."""
    build, disease, scan = (np.random.default_rng((*seed, stream)) for stream in range(3))
    physique = Physique(build)
    space = place(physique, size=size, slices=slices, generator=build)
    thorax = draw_thorax(physique, space, build)

    hu, mask = thorax.hu, np.zeros(thorax.hu.shape, np.bool_)
    if lesion != HEALTHY:
        grown = LESIONS[lesion](thorax, disease)
        hu, mask = painted(hu, grown.coverage, grown.hu), grown.coverage >= 0.5
    noise = physique.noise * draw_noise(space, thorax.body, scan)
    return Drawing(hu=hu + noise, mask=mask, heights_mm=space.heights)
