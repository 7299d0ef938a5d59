"""The brush: signed distances in mm, below 0 inside a shape, and how much of each voxel a shape covers."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayology.phantom.physique import Physique

__all__ = [
    "Field",
    "Point",
    "Segments",
    "Space",
    "covered",
    "ellipsoid",
    "joined",
    "overlapped",
    "painted",
    "plate",
    "tubes",
]

Field = NDArray[np.float32]
Indices = NDArray[np.int64]
Point = tuple[float, float, float]

_PATCHES = (6, 9, 13)
"""Half the sides of the squares, in pixels, in which tubes of about the same size are drawn together."""


@dataclass(frozen=True)
class Space:
    """Where every voxel lies in the body: x to the patient's left, y to the back, z to the head, in mm."""

    x: Field
    y: Field
    z: Field
    offsets: Field
    """Where rows and columns lie, in mm from the image's middle."""
    pixel_mm: float
    physique: Physique
    slack_mm: float
    """Change of the body's bending over the length of a vessel, in mm."""

    @property
    def heights(self) -> Field:
        """Return the z of every slice."""
        return self.z[:, 0, 0]

    def pixels(self, points: Field, slices: Indices) -> Indices:
        """Return the (row, column) nearest to each (x, y) of the body in its slice."""
        straight = self._unbent(points[:, 0], points[:, 1])
        row, column = np.clip(np.rint(straight).astype(np.int64), 0, self.x.shape[-1] - 1).T
        bend_x, bend_y = (points[:, axis] - grid[slices, row, column] for axis, grid in enumerate((self.x, self.y)))
        found = np.stack([row, column], axis=1) + self._unbent(bend_x, bend_y) - self._unbent(0 * bend_x, 0 * bend_y)
        return np.rint(found).astype(np.int64)

    def _unbent(self, x: Field, y: Field) -> Field:
        """Return (row, column) of points as if the body were only turned, shifted and scaled."""
        body = self.physique
        cos, sin = np.float32(np.cos(body.turn)), np.float32(np.sin(body.turn))
        across, along = np.float32(body.scale[0]) * x, np.float32(body.scale[1]) * y
        right, down = cos * across - sin * along + body.shift[0], sin * across + cos * along + body.shift[1]
        middle = (self.x.shape[-1] - 1) / 2
        return (np.stack([down, right], axis=1) / self.pixel_mm + middle).astype(np.float32)


@dataclass(frozen=True)
class Segments:
    """Round, tapering pieces of tubes."""

    starts: Field
    """One (x, y, z) per piece, in mm."""
    ends: Field
    """One (x, y, z) per piece, in mm."""
    radii: Field
    """The radius at the start and at the end of each piece, in mm."""

    @classmethod
    def along(cls, *paths: tuple[tuple[Point, float], ...]) -> "Segments":
        """Join the (point, radius) of each path by pieces."""
        pairs = [(a, b) for path in paths for a, b in itertools.pairwise(path)]
        return cls(
            starts=np.array([a[0] for a, _ in pairs], np.float32),
            ends=np.array([b[0] for _, b in pairs], np.float32),
            radii=np.array([(a[1], b[1]) for a, b in pairs], np.float32),
        )

    def taken(self, pieces: Indices) -> "Segments":
        """Return some of the pieces, in this order."""
        return Segments(self.starts[pieces], self.ends[pieces], self.radii[pieces])

    def grown(self, by_mm: float) -> "Segments":
        """Return the same pieces with other radii: thicker, or thinner below 0."""
        return Segments(self.starts, self.ends, np.maximum(self.radii + np.float32(by_mm), 0.1))


def covered(distance: Field, edge_mm: float) -> Field:
    """Return the share of each voxel inside a shape: the partial volume over an edge of this width."""
    return np.clip(0.5 - distance / np.float32(edge_mm), 0, 1)


def painted(volume: Field, coverage: Field, hu: Field | float) -> Field:
    """Mix a tissue into a volume by its share of each voxel."""
    return volume + coverage * (np.float32(hu) - volume if isinstance(hu, float) else hu - volume)


def joined(first: Field, second: Field, rounding_mm: float) -> Field:
    """Return the distance to the union of two shapes, with a fillet where they meet."""
    near = np.maximum(np.float32(rounding_mm) - np.abs(first - second), 0)
    return np.minimum(first, second) - near * near * np.float32(0.25 / rounding_mm)


def overlapped(first: Field, second: Field, rounding_mm: float) -> Field:
    """Return the distance to what two shapes share, with rounded corners."""
    return -joined(-first, -second, rounding_mm)


def ellipsoid(space: Space, centre: Point, radii: Point, turn: float = 0.0) -> Field:
    """Return the distance to an ellipsoid turned about z: exact on its surface, to first order near it."""
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    right, back = space.x - np.float32(centre[0]), space.y - np.float32(centre[1])
    scaled = [
        (cos * right + sin * back) / np.float32(radii[0]),
        (cos * back - sin * right) / np.float32(radii[1]),
        (space.z - np.float32(centre[2])) / np.float32(radii[2]),
    ]
    level = np.sqrt(sum(part * part for part in scaled))
    slope = np.sqrt(sum((part / np.float32(radius)) ** 2 for part, radius in zip(scaled, radii, strict=True)))
    return level * (level - 1) / np.maximum(slope, 1e-6)


def plate(space: Space, ends: tuple[tuple[float, float], tuple[float, float]], radius_mm: float) -> Field:
    """Return the distance to an upright plate with round edges between two (x, y)."""
    (x, y), (far_x, far_y) = ends
    right, back = space.x - np.float32(x), space.y - np.float32(y)
    across, along = np.float32(far_x - x), np.float32(far_y - y)
    share = np.clip((right * across + back * along) / (across**2 + along**2), 0, 1)
    return np.hypot(right - share * across, back - share * along) - np.float32(radius_mm)


def tubes(space: Space, segments: Segments) -> Field:
    """Return the share of each voxel inside any of the tubes, also of those thinner than a voxel."""
    margin = segments.radii.max(axis=1) + space.pixel_mm
    low = np.minimum(segments.starts[:, 2], segments.ends[:, 2]) - margin
    high = np.maximum(segments.starts[:, 2], segments.ends[:, 2]) + margin
    heights = space.heights[:, None]
    slices, pieces = np.nonzero((heights >= low) & (heights <= high))

    span = np.abs(segments.ends - segments.starts)[pieces, :2].max(axis=1) / 2
    reach = np.ceil((span + margin[pieces] + space.slack_mm) * max(space.physique.scale) / space.pixel_mm).astype(
        np.int64
    )
    coverage = np.zeros_like(space.x)
    for low_reach, high_reach in zip((0, *_PATCHES), (*_PATCHES, space.x.shape[-1]), strict=True):
        alike = (reach > low_reach) & (reach <= high_reach)
        if alike.any():
            chosen = segments.taken(pieces[alike])
            where = _patches(space, chosen, slices[alike], int(reach[alike].max()))
            np.maximum.at(coverage, where, _tube_coverage(space, where, chosen))
    return coverage


def _patches(space: Space, segments: Segments, slices: Indices, reach: int) -> tuple[Indices, Indices, Indices]:
    """Return the voxels of a square about the middle of each piece, in its slice."""
    patch = np.arange(-reach, reach + 1)
    middle = space.pixels((segments.starts + segments.ends) * 0.5, slices)
    last = space.x.shape[-1] - 1
    rows = np.clip(middle[:, :1] + patch, 0, last)[:, :, None]
    columns = np.clip(middle[:, 1:] + patch, 0, last)[:, None, :]
    return slices[:, None, None], rows, columns


def _tube_coverage(space: Space, where: tuple[Indices, Indices, Indices], segments: Segments) -> Field:
    """Return how much of a voxel's width lies within the radius of its nearest point on the piece's axis."""
    start, axis = segments.starts.T[..., None, None], (segments.ends - segments.starts).T[..., None, None]
    right, back, up = (grid[where] - start[i] for i, grid in enumerate((space.x, space.y, space.z)))
    length = np.maximum((axis * axis).sum(axis=0), 1e-6)
    along = np.clip((right * axis[0] + back * axis[1] + up * axis[2]) / length, 0, 1)
    offsets = [part - along * axis[i] for i, part in enumerate((right, back, up))]
    distance = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)

    first, last = segments.radii.T[..., None, None]
    radius, half = first + along * (last - first), np.float32(space.pixel_mm / 2)
    width = np.minimum(distance + half, radius) - np.maximum(distance - half, -radius)
    return np.clip(width / np.float32(space.pixel_mm), 0, 1)
