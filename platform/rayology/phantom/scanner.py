"""The scanner: how a patient lies in it, and the noise that it adds."""

import numpy as np

from rayology.phantom.physique import Physique
from rayology.phantom.shapes import Field, Space

__all__ = ["FIELD_OF_VIEW_MM", "SLICE_SPACING_MM", "draw_noise", "place", "texture"]

FIELD_OF_VIEW_MM = 360.0
SLICE_SPACING_MM = 5.0

_BEND_MM = 2.5
"""Standard deviation of the bending that makes every outline irregular."""


def place(physique: Physique, *, size: int, slices: int, generator: np.random.Generator) -> Space:
    """Lay a patient in the scanner: turned, shifted, scaled and smoothly bent."""
    pixel = FIELD_OF_VIEW_MM / size
    offsets = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    heights = (physique.level + np.arange(slices) * SLICE_SPACING_MM).astype(np.float32)
    cos, sin = np.float32(np.cos(physique.turn)), np.float32(np.sin(physique.turn))
    right = (offsets - physique.shift[0]).astype(np.float32)
    down = (offsets - physique.shift[1]).astype(np.float32)[:, None]
    bends = [_BEND_MM * texture(generator, scale_mm=60, heights=heights, offsets=offsets) for _ in range(2)]
    return Space(
        x=(cos * right + sin * down) / np.float32(physique.scale[0]) + bends[0],
        y=(cos * down - sin * right) / np.float32(physique.scale[1]) + bends[1],
        z=np.broadcast_to(heights[:, None, None], bends[0].shape),
        offsets=offsets,
        pixel_mm=pixel,
        physique=physique,
        slack_mm=_BEND_MM,
    )


def texture(generator: np.random.Generator, *, scale_mm: float, heights: Field, offsets: Field) -> Field:
    """Draw a smooth random field of mean 0 and variance 1 whose features are about ``scale_mm`` wide."""
    planes, lines = (_bumps(positions, scale_mm) for positions in (heights, offsets))
    knots = generator.standard_normal((planes.shape[1], lines.shape[1], lines.shape[1]), dtype=np.float32)
    smooth: Field = np.matmul(np.matmul(lines, np.tensordot(planes, knots, axes=1)), lines.T)
    return smooth


def _bumps(positions: Field, scale_mm: float) -> Field:
    """Return Gaussian weights of knots half a scale apart, of equal power at every position."""
    knots = np.arange(positions[0] - scale_mm, positions[-1] + scale_mm, scale_mm / 2, dtype=np.float32)
    weights = np.exp(-(((positions[:, None] - knots) / np.float32(0.6 * scale_mm)) ** 2))
    return (weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))).astype(np.float32)


def draw_noise(space: Space, body: Field, generator: np.random.Generator) -> Field:
    """Draw the noise of filtered back-projection: a ramp with a soft cut-off, of variance 1 inside the body."""
    size = space.x.shape[-1]
    down, right = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    frequency = np.minimum(np.hypot(down, right) * 2, 1)
    ramp = (frequency * (1 + np.cos(np.pi * frequency))).astype(np.float32)
    white = np.fft.rfft2(generator.standard_normal(space.x.shape, dtype=np.float32))
    coloured = np.fft.irfft2(white * ramp, s=(size, size)).astype(np.float32)
    return coloured / coloured.std() * (0.5 + 0.5 * body)
