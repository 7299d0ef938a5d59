"""What a radiologist would report: masses, consolidated lung, fluid next to the lung."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rayology.phantom.anatomy import Thorax
from rayology.phantom.scanner import texture
from rayology.phantom.shapes import Field, Point, Segments, covered, ellipsoid, painted, tubes
from rayology.phantom.vessels import grow_tree, hilum
from rayology.phantom.wall import AIR_HU

__all__ = ["LESIONS", "Lesion"]


@dataclass(frozen=True)
class Lesion:
    """A lesion over the whole volume."""

    coverage: Field
    """Share of each voxel that the lesion takes."""
    hu: Field
    """Density in HU."""


def grow_nodules(thorax: Thorax, generator: np.random.Generator) -> Lesion:
    """Grow solid masses, smooth or spiculated, so that every slice meets at least one."""
    space = thorax.space
    uneven = texture(generator, scale_mm=9, heights=space.heights, offsets=space.offsets)
    coverage = np.zeros_like(space.x)
    height, top = float(space.heights[0]), float(space.heights[-1])
    while height <= top:
        diameter = generator.uniform(17, 30)
        centre = _place_nodule(thorax, height + generator.uniform(0.1, 0.3) * diameter, diameter, generator)
        stretch = generator.uniform(0.85, 1.15, 2)
        radii = (diameter / 2 * stretch[0], diameter / 2 / stretch[0], diameter / 2 * 1.1)
        mass = ellipsoid(space, centre, radii, generator.uniform(0, np.pi)) + uneven * np.float32(diameter / 22)
        coverage = np.maximum(coverage, covered(mass, space.pixel_mm))
        if generator.random() < 0.5:
            coverage = np.maximum(coverage, 0.7 * tubes(space, _spicules(centre, diameter / 2, generator)))
        height = centre[2] + 0.38 * diameter
    density = np.float32(generator.uniform(25, 60))
    return Lesion(coverage * thorax.room, density + 8 * uneven)


def _place_nodule(thorax: Thorax, height: float, diameter: float, generator: np.random.Generator) -> Point:
    """Choose a middle deep enough in either lung, at the slice next to a height."""
    space = thorax.space
    index = int(np.abs(space.heights - height).argmin())
    depth = -thorax.depth[index]
    rows, columns = np.nonzero(depth >= min(0.45 * diameter, 0.8 * depth.max()))
    chosen = generator.integers(len(rows))
    where = (index, rows[chosen], columns[chosen])
    return (float(space.x[where]), float(space.y[where]), height)


def _spicules(centre: Point, radius_mm: float, generator: np.random.Generator) -> Segments:
    """Return thin strands that radiate from a mass."""
    directions = generator.standard_normal((14, 3), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = generator.uniform(1.3, 1.9, (14, 1)).astype(np.float32) * np.float32(radius_mm)
    middle = np.asarray(centre, np.float32)
    radii = np.tile(np.array([[1.8, 0.4]], np.float32), (14, 1))
    return Segments(middle + 0.6 * np.float32(radius_mm) * directions, middle + reach * directions, radii)


def grow_consolidation(thorax: Thorax, generator: np.random.Generator) -> Lesion:
    """Fill a ragged wedge of one lung, from near its root to the pleura; open bronchi cross it."""
    space, side = thorax.space, int(generator.choice((-1, 1)))
    root = hilum(side)
    towards, twist = generator.uniform(-0.6, 1.2), generator.normal(0, 0.006)
    half_angle, start = generator.uniform(0.45, 0.8), generator.uniform(8, 22)
    ragged = texture(generator, scale_mm=16, heights=space.heights, offsets=space.offsets)
    patchy = texture(generator, scale_mm=8, heights=space.heights, offsets=space.offsets)

    right, back = side * (space.x - np.float32(root[0])), space.y - np.float32(root[1])
    away = np.hypot(right, back)
    angle = np.arctan2(back, right) - np.float32(towards) - np.float32(twist) * (space.z - space.heights.mean())
    beside = away * np.sin(np.clip(np.abs(angle) - np.float32(half_angle), -1.5, 1.5))
    wedge = np.maximum(beside, np.float32(start) - away) + 5 * ragged
    coverage = covered(wedge, 2 * space.pixel_mm) * thorax.room * (side * space.x > 0)

    filled = np.clip(0.86 + 0.22 * patchy, 0.3, 1)
    density = painted(np.full_like(space.x, -750), filled, float(generator.uniform(25, 50)))
    fan = generator.normal(0, 0.22, (4, 3)).astype(np.float32) + np.array(
        (side * np.cos(towards), np.sin(towards), 0), np.float32
    )
    bronchi = grow_tree(root, fan, radius_mm=2.6, generator=generator)
    return Lesion(coverage, painted(density, tubes(space, bronchi), AIR_HU))


def pour_effusion(thorax: Thorax, generator: np.random.Generator) -> Lesion:
    """Lay fluid along the back of one or both pleural spaces, in a crescent that thins out upwards."""
    space, side = thorax.space, int(generator.choice((-1, 1)))
    shares = {side: 1.0, -side: generator.choice([0.0, generator.uniform(0.3, 0.8)], p=[0.7, 0.3])}
    thickness, slope = generator.uniform(24, 44), generator.uniform(0, 0.25)
    brim, bottom = generator.uniform(-45, 15), float(space.y[thorax.depth < 0].max())
    ripple = texture(generator, scale_mm=30, heights=space.heights, offsets=space.offsets)

    fill = np.clip((space.y - np.float32(brim)) / np.float32(bottom - brim), 0, 1)
    layer = np.float32(thickness) - np.float32(slope) * (space.z - space.heights.mean())
    one_sided = np.where(space.x * side > 0, np.float32(shares[side]), np.float32(shares[-side]))
    surface = -thorax.pleura - layer * fill * one_sided + 1.2 * ripple
    coverage = covered(surface, space.pixel_mm) * thorax.room * (fill > 0) * (one_sided > 0)
    return Lesion(coverage, np.float32(generator.uniform(6, 20)) + ripple)


LESIONS: dict[str, Callable[[Thorax, np.random.Generator], Lesion]] = {
    "consolidation": grow_consolidation,
    "effusion": pour_effusion,
    "nodule": grow_nodules,
}
"""Function that grows each class of lesion, by the name of the class."""
