"""The healthy chest of one patient in Hounsfield units: lungs, heart, vessels and airways within the wall."""

from dataclasses import dataclass

import numpy as np

from rayology.phantom.physique import Physique
from rayology.phantom.scanner import texture
from rayology.phantom.shapes import Field, Space, covered, ellipsoid, joined, overlapped, painted, plate, tubes
from rayology.phantom.skeleton import paint_bones
from rayology.phantom.vessels import airways, great_vessels, grow_tree, hilum, oesophagus
from rayology.phantom.wall import AIR_HU, FAT_HU, HALF_DEPTH, Wall, build_wall, paint_wall

__all__ = ["Thorax", "draw_thorax"]

BLOOD_HU, HEART_HU, LIVER_HU, OESOPHAGUS_HU, AIRWAY_WALL_HU = 44.0, 47.0, 58.0, 36.0, 0.0


@dataclass(frozen=True)
class Thorax:
    """A chest, and what a lesion needs to find its place in it."""

    space: Space
    hu: Field
    room: Field
    """The share of each voxel that a lesion may take: lung with its own vessels, and its edge with other tissue."""
    depth: Field
    """The distance to the surface of the lungs, below 0 inside."""
    pleura: Field
    """The distance to the inside of the ribs, below 0 inside."""
    body: Field
    """The share of the body in each voxel."""


def draw_thorax(physique: Physique, space: Space, generator: np.random.Generator) -> Thorax:
    """Draw one patient's chest without lesion or noise."""
    wall = build_wall(physique, space)
    ventricles, atria, domes = _ventricles(physique, space), _atria(physique, space), _domes(physique, space)
    heart = joined(ventricles, atria, 14)
    depth = _lung_depth(space, wall, heart, domes)
    lung, edge = covered(depth, space.pixel_mm), space.pixel_mm

    hu = paint_wall(physique, space, wall, generator)
    hu = painted(hu, covered(overlapped(domes + 3, wall.pleura, 6), edge), LIVER_HU)
    hu = painted(hu, lung, _lung_density(physique, space, generator))
    hu = painted(hu, _lung_vessels(space, depth, generator), BLOOD_HU)

    hu = painted(hu, covered(heart, edge), HEART_HU)
    groove = covered(np.abs(ventricles - atria) - 1.5, 2 * edge) * covered(-heart - 10, 6)
    hu = painted(hu, 0.7 * groove * covered(heart, edge), FAT_HU)
    vessels = tubes(space, great_vessels(physique))
    hu = painted(hu, vessels, BLOOD_HU)
    hu = painted(hu, tubes(space, oesophagus()), OESOPHAGUS_HU)

    hu = paint_bones(physique, space, hu, wall)
    lumen = tubes(space, airways())
    hu = painted(painted(hu, tubes(space, airways().grown(1.3)), AIRWAY_WALL_HU), lumen, AIR_HU)
    return Thorax(
        space=space,
        hu=hu,
        room=np.minimum(4 * lung * (1 - vessels) * (1 - lumen), 1),
        depth=depth,
        pleura=wall.pleura,
        body=covered(wall.skin, edge),
    )


def _ventricles(physique: Physique, space: Space) -> Field:
    size, aside = physique.heart, physique.heart_shift
    return ellipsoid(space, (24 + aside, -28, -32), (58 * size, 40 * size, 46 * size), physique.heart_turn)


def _atria(physique: Physique, space: Space) -> Field:
    size, aside = physique.heart, physique.heart_shift / 2
    right = ellipsoid(space, (-24 + aside, -16, -22), (27 * size, 31 * size, 38 * size))
    left = ellipsoid(space, (1 + aside, 11, -8), (35 * size, 17, 26 * size))
    return joined(right, left, 8)


def _domes(physique: Physique, space: Space) -> Field:
    """Return the distance to what lies below the diaphragm; the left dome stands lower."""
    right = ellipsoid(space, (-62, 4, physique.diaphragm - 70), (66, 80, 70))
    left = ellipsoid(space, (64, 8, physique.diaphragm - 84), (58, 76, 70))
    return joined(right, left, 10)


def _lung_depth(space: Space, wall: Wall, heart: Field, domes: Field) -> Field:
    """Return the distance to the lungs: what the ribs hold besides mediastinum, spine and diaphragm."""
    upper = ellipsoid(space, (1, -8, 70), (34, 52, 75))
    middle = ellipsoid(space, (0, 8, 0), (27, 62, 1e4))
    spine = ellipsoid(space, (0, 62, 0), (27, 36, 1e4))
    front = plate(space, ((2, -HALF_DEPTH), (2, -20)), 7)
    mediastinum = joined(joined(joined(upper, middle, 8), joined(spine, front, 8), 8), heart - 4, 10)
    return overlapped(overlapped(wall.pleura, -mediastinum, 9), -domes, 9)


def _lung_density(physique: Physique, space: Space, generator: np.random.Generator) -> Field:
    """Return the density of aerated lung: denser where gravity pulls, and uneven."""
    uneven = texture(generator, scale_mm=11, heights=space.heights, offsets=space.offsets)
    broad = texture(generator, scale_mm=45, heights=space.heights, offsets=space.offsets)
    gradient = np.float32(physique.lung_gradient / 100) * (space.y + 60)
    return physique.lung + gradient + 9 * uneven + 14 * broad


def _lung_vessels(space: Space, depth: Field, generator: np.random.Generator) -> Field:
    """Return the share of pulmonary vessels; they end before they reach the pleura."""
    coverage = np.zeros_like(space.x)
    for side in (-1, 1):
        fan = generator.normal((0.8 * side, 0.1, -0.1), (0.4, 0.8, 0.8), (24, 3)).astype(np.float32)
        tree = grow_tree(hilum(side), fan, radius_mm=4.2, generator=generator)
        coverage = np.maximum(coverage, tubes(space, tree))
    return coverage * np.clip((-depth - 2) / 8, 0, 1)
