"""Tubes of the chest: great vessels, airways, and the trees that branch into the lungs."""

import numpy as np

from rayology.phantom.physique import Physique
from rayology.phantom.shapes import Field, Point, Segments

__all__ = ["airways", "great_vessels", "grow_tree", "hilum", "oesophagus"]

_CARINA: Point = (-1.0, 8.0, 35.0)


def hilum(side: int) -> Point:
    """Return where vessels and bronchus enter the lung; the side is -1 for the right, 1 for the left."""
    return (38.0 * side, 10.0, 14.0 if side < 0 else 19.0)


def great_vessels(physique: Physique) -> Segments:
    """Return the aorta with its arch and branches, the pulmonary arteries and veins, and the venae cavae."""
    wide, aside = physique.vessel, physique.aorta_shift
    aorta: tuple[tuple[Point, float], ...] = (
        ((2, -20, -2), 14 * wide),
        ((-13, -30, 22), 15.5 * wide),
        ((-13, -27, 45), 15 * wide),
        ((-4, -14, 60), 14 * wide),
        ((11 + aside / 2, 10, 64), 13 * wide),
        ((22 + aside, 32, 50), 12.5 * wide),
        ((24 + aside, 44, 25), 12 * wide),
        ((21 + aside, 42, -100), 11 * wide),
    )
    trunk: tuple[tuple[Point, float], ...] = (
        ((22, -38, -4), 13 * wide),
        ((19, -30, 16), 13 * wide),
        ((18, -8, 27), 11.5 * wide),
    )
    return Segments.along(
        aorta,
        trunk,
        (((18, -8, 27), 11 * wide), ((-8, -3, 21), 9.5 * wide), ((-40, 6, 12), 8 * wide)),
        (((18, -8, 27), 10.5 * wide), ((40, 10, 24), 8.5 * wide)),
        (((-12, 6, -6), 7), ((-42, 8, -8), 6)),
        (((10, 8, -4), 7), ((42, 10, -6), 6)),
        (((-30, -14, -8), 9.5), ((-27, -18, 45), 9), ((-26, -24, 78), 8), ((-34, -20, 140), 7)),
        (((-26, -24, 72), 7), ((20, -34, 88), 6), ((36, -20, 140), 6)),
        (((-4, -12, 66), 6.5), ((-17, -8, 95), 6), ((-24, -4, 140), 5)),
        (((4, -2, 70), 5), ((12, -4, 140), 4)),
        (((12, 10, 70), 5.5), ((24, 8, 140), 5)),
        (((-14, 40, -100), 4), ((-14, 38, 40), 4.5), ((-26, 6, 46), 5)),
    )


def oesophagus() -> Segments:
    """Return the gullet between the airways and the spine."""
    return Segments.along((((8, 30, -100), 7), ((2, 29, 0), 6.5), ((3, 28, 150), 6)))


def airways() -> Segments:
    """Return the lumen of the trachea, the main bronchi and what follows them into the lobes."""
    right, left = hilum(-1), hilum(1)
    return Segments.along(
        (((0, 0, 150), 8.5), ((-1, 4, 60), 8.5), (_CARINA, 8)),
        ((_CARINA, 7), ((-22, 11, 22), 6.5), (right, 5), ((-48, 18, -20), 3.5), ((-62, 38, -60), 2.5)),
        ((_CARINA, 6.5), ((24, 12, 20), 5.5), (left, 4.5), ((52, 24, -18), 3.2), ((66, 40, -60), 2.2)),
        (((-26, 11, 22), 4.5), ((-50, 12, 34), 3), ((-62, 8, 60), 2)),
        ((left, 4), ((54, -6, 32), 3), ((64, -6, 60), 2)),
        (((-44, 13, 0), 3.5), ((-62, -18, -16), 2.2)),
    )


def grow_tree(root: Point, towards: Field, *, radius_mm: float, generator: np.random.Generator) -> Segments:
    """Branch in two, six times over, from one point along each first direction, getting shorter and thinner."""
    starts = np.broadcast_to(np.asarray(root, np.float32), towards.shape)
    directions, radii = _unit(towards), np.full(len(towards), radius_mm, np.float32)
    length, pieces = 30.0, []
    for _ in range(6):
        lengths = length * generator.uniform(0.75, 1.25, len(starts)).astype(np.float32)
        ends = starts + directions * lengths[:, None]
        pieces.append((starts, ends, np.stack([radii, 0.85 * radii], axis=1)))

        starts, radii, length = np.repeat(ends, 2, axis=0), np.repeat(radii * 0.78, 2), length * 0.82
        directions = np.repeat(directions, 2, axis=0)
        fork = 0.45 * _unit(np.cross(directions[::2], _directions(len(directions) // 2, generator)))
        directions[::2] += fork
        directions[1::2] -= fork
        directions = _unit(directions + 0.15 * _directions(len(directions), generator))
    starts, ends, tapers = (np.concatenate(parts).astype(np.float32) for parts in zip(*pieces, strict=True))
    return Segments(starts, ends, tapers)


def _directions(count: int, generator: np.random.Generator) -> Field:
    return generator.standard_normal((count, 3), dtype=np.float32)


def _unit(vectors: Field) -> Field:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
