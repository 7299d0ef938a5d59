"""Bones of the chest: ribs, spine, sternum and shoulder blades, each a hard shell around marrow."""

import numpy as np

from rayology.phantom.physique import Physique
from rayology.phantom.shapes import Field, Space, covered, ellipsoid, joined, overlapped, painted, plate
from rayology.phantom.wall import HALF_DEPTH, Wall, narrowing

__all__ = ["paint_bones"]

_RIB_SPACING_MM = 27.0
_VERTEBRA_SPACING_MM = 25.0
_CANAL = (0.0, 72.0, 0.0)
_UPRIGHT_MM = 1e4
"""The height of what looks the same at every level."""

CANAL_HU, CARTILAGE_HU, DISC_HU = 32.0, 110.0, 90.0


def paint_bones(physique: Physique, space: Space, hu: Field, wall: Wall) -> Field:
    """Paint every bone over the chest."""
    hu = _paint_ribs(physique, space, hu, wall)
    hu = _paint_bone(physique, space, hu, _shoulder_blades(space, wall), shell_mm=1.4)
    sternum = ellipsoid(space, (0, -HALF_DEPTH * float(narrowing(space.z).mean()) + 4, 0), (19, 6.5, _UPRIGHT_MM))
    hu = _paint_bone(physique, space, hu, sternum, shell_mm=1.2)
    return _paint_spine(physique, space, hu)


def _paint_bone(physique: Physique, space: Space, hu: Field, distance: Field, *, shell_mm: float) -> Field:
    hu = painted(hu, covered(distance, space.pixel_mm), physique.bone)
    return painted(hu, covered(distance + np.float32(shell_mm), space.pixel_mm), physique.marrow)


def _paint_ribs(physique: Physique, space: Space, hu: Field, wall: Wall) -> Field:
    """Paint the ribs, which descend from the spine and end as cartilage near the sternum."""
    front = (1 - wall.back) / 2
    phase = np.where(space.x < 0, *(np.float32(phase) for phase in physique.rib_phase))
    height = (space.z + physique.rib_drop * front) / _RIB_SPACING_MM + phase
    along = (height - np.rint(height)) * _RIB_SPACING_MM
    across = wall.cage + 4.6
    thickness, width = 4.1, 6.2
    rib = (np.hypot(across / thickness, along / width) - 1) * thickness

    present: Field = np.clip((np.abs(space.x) - 17) / 5, 0, 1)
    cartilage: Field = np.clip((front - 0.84) * 20, 0, 1)
    bone = covered(rib, space.pixel_mm) * present
    hu = painted(hu, bone * (1 - cartilage), physique.bone)
    hu = painted(hu, covered(rib + 1.7, space.pixel_mm) * present * (1 - cartilage), physique.marrow + 60)
    return painted(hu, bone * cartilage, CARTILAGE_HU)


def _paint_spine(physique: Physique, space: Space, hu: Field) -> Field:
    """Paint vertebrae and discs around the canal."""
    level = space.z / _VERTEBRA_SPACING_MM + physique.disc_phase
    from_disc = np.abs(level - np.rint(level)) * _VERTEBRA_SPACING_MM
    canal = ellipsoid(space, _CANAL, (10, 9, _UPRIGHT_MM))
    body = overlapped(ellipsoid(space, (0, 50, 0), (18.5, 15.5, _UPRIGHT_MM)), -canal, 3)
    arch = np.abs(canal - 3.2) - 3.2
    processes = [plate(space, ((side * 12, 74), (side * 34, 83)), 4.2) for side in (-1, 1)]
    spike = plate(space, ((0, 84), (0, 103)), 3.6)
    shrunk = np.maximum(8 - from_disc, 0) * 0.7
    bone = joined(joined(arch, spike, 3), np.minimum(*processes) + shrunk, 3)

    hu = painted(hu, covered(canal, space.pixel_mm), CANAL_HU)
    hu = _paint_bone(physique, space, hu, bone, shell_mm=1.8)
    hu = _paint_bone(physique, space, hu, body, shell_mm=1.5)
    disc = covered(from_disc - 3, 4) * covered(body, space.pixel_mm)
    return painted(hu, disc, DISC_HU)


def _shoulder_blades(space: Space, wall: Wall) -> Field:
    """Return the distance to the two blades: plates in the muscle behind the ribs, wider further up."""
    reach = float(np.clip((space.heights.mean() + 45) / 100, 0.2, 0.9))
    inner, outer = (104 - 46 * reach, 88 + 5 * reach), (106 + 14 * reach, 66 - 34 * reach)
    blades = [plate(space, ((side * inner[0], inner[1]), (side * outer[0], outer[1])), 2.6) for side in (-1, 1)]
    within = np.maximum(2 - wall.cage, wall.muscle + 3)
    return np.maximum(np.maximum(np.minimum(*blades), within), -20 - space.z)
