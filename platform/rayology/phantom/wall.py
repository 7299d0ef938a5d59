"""The chest wall: skin, fat, breasts and muscle around the rib cage, and the table below."""

from dataclasses import dataclass

import numpy as np

from rayology.phantom.physique import Physique
from rayology.phantom.scanner import texture
from rayology.phantom.shapes import Field, Space, covered, ellipsoid, joined, painted

__all__ = ["AIR_HU", "FAT_HU", "HALF_DEPTH", "Wall", "build_wall", "narrowing", "paint_wall"]

AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU = -1000.0, -105.0, 52.0, 25.0
HALF_WIDTH, HALF_DEPTH = 126.0, 92.0


@dataclass(frozen=True)
class Wall:
    """The layers of the chest wall as distances, below 0 inside, in polar coordinates about the middle of the chest."""

    back: Field
    """The cosine of the angle from the spine: 1 behind, 0 at the sides, -1 in front."""
    aside: Field
    """The sine of that angle, the same right and left."""
    cage: Field
    """The distance to the outside of the ribs."""
    muscle: Field
    """The distance to the outside of the muscles."""
    skin: Field
    """The distance to the skin."""

    @property
    def pleura(self) -> Field:
        """Return the distance to the inside of the ribs."""
        return self.cage + 9.5


def build_wall(physique: Physique, space: Space) -> Wall:
    """Shape the rib cage, a superellipse that narrows towards the neck, and lay muscle and fat around it."""
    radius: Field = np.maximum(np.hypot(space.x, space.y), 1)
    back: Field = space.y / radius
    aside: Field = np.abs(space.x / radius)
    power = np.float32(physique.squareness)
    level = (np.abs(back) / HALF_DEPTH) ** power + (aside / HALF_WIDTH) ** power
    cage = radius - level ** (-1 / power) * narrowing(space.z)

    height = np.clip((space.z + 30) / 100, 0, 1)
    behind, before = np.maximum(back, 0), np.maximum(-back, 0)
    erectors = 15 * np.exp(-(((aside - 0.3) / 0.26) ** 2)) * behind
    pectorals = (4 + 7 * height) * np.exp(-(((aside - 0.5) / 0.3) ** 2)) * before
    shoulders = (6 + 20 * height) * aside * aside * (1 + back) / 2
    muscle = cage - physique.muscle * (0.35 + aside * aside) - erectors - pectorals - shoulders

    midline = np.exp(-((aside / 0.25) ** 2))
    fat = np.float32(physique.fat) * (0.5 + 0.5 * aside + 0.3 * behind)
    skin = muscle - fat - 7 * midline * behind - 3 * midline * before
    if physique.breast > 0:
        for side in (-1, 1):
            breast = ellipsoid(space, (side * 68, -HALF_DEPTH + 6, -14), (60, 22 + physique.breast, 64))
            skin = joined(skin, breast, 22)
    return Wall(back=back, aside=aside, cage=cage, muscle=muscle, skin=skin)


def narrowing(z: Field) -> Field:
    """Return how wide the rib cage is at a height, 1 at its widest."""
    return np.sqrt(np.maximum(1 - ((z + 40) / 215) ** 2, 0.1))


def paint_wall(physique: Physique, space: Space, wall: Wall, generator: np.random.Generator) -> Field:
    """Paint air, table and everything outside the ribs; what lies inside them becomes fat."""
    edge = space.pixel_mm
    hu = _paint_table(physique, space, wall)
    hu = painted(hu, covered(wall.skin, edge), SKIN_HU)
    hu = painted(hu, covered(wall.skin + 2.4, edge), FAT_HU)

    streaks = texture(generator, scale_mm=14, heights=space.heights, offsets=space.offsets)
    gland = np.clip(streaks * 0.8, 0, 0.9) * covered(wall.skin + 11, 8)
    hu = painted(hu, gland * (wall.back < -0.45) * np.float32(physique.breast > 0), 30.0)

    flesh = covered(wall.muscle, edge)
    planes = covered(np.abs(wall.muscle - (wall.muscle - wall.cage) / 2 + streaks) - np.float32(0.8), edge)
    fatty = np.clip(0.12 + 0.12 * streaks, 0, 0.6)
    hu = painted(hu, flesh, MUSCLE_HU)
    hu = painted(hu, flesh * np.maximum(fatty, 0.6 * planes), FAT_HU)
    return painted(hu, covered(wall.pleura, edge), FAT_HU)


def _paint_table(physique: Physique, space: Space, wall: Wall) -> Field:
    """Draw the hollow carbon shell of the table if it is in view, bent towards its sides."""
    hu = np.full_like(space.x, AIR_HU)
    if physique.table < 0:
        return hu
    behind = space.y + space.x * space.x * 0.0009
    surface = np.where(wall.skin < 0, behind, -np.inf).max() + np.float32(physique.table + 3)
    shell = np.abs(behind - surface - 12) - 12
    hu = painted(hu, covered(shell, space.pixel_mm), -880.0)
    return painted(hu, covered(np.abs(shell) - 1, space.pixel_mm), -350.0)
