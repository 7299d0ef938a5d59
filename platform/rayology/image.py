"""What an image is to data and models alike: its shape, its value range, and the way to [-1, 1] and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from rayology.config import Config

__all__ = [
    "VALUES_AT_ONCE",
    "Batch",
    "Grid",
    "ImageSpec",
    "ValueRange",
    "clipped_share",
    "from_model_range",
    "num_at_once",
    "to_model_range",
    "to_stored",
]

VALUES_AT_ONCE = 2**20
"""How many float32 values a step of an evaluation holds at once, unless it is told otherwise."""
Values = NDArray[np.float32] | NDArray[np.float64]


class ValueRange(Config):
    """Range of the values that images keep; what lies outside is clipped."""

    low: float = -1000.0
    """Value stored as 0 and seen by a model as -1, in units of the modality."""
    high: float = 1000.0
    """Value stored as the highest level and seen by a model as 1, to rounding, in units of the modality."""
    unit: str = "HU"
    """Unit of low and high: HU for CT; for other modalities the fraction between two percentiles of the series."""
    levels: Annotated[int, Field(ge=2, le=65536)] = 4096
    """Number of stored levels; 4096 keep 12 bits."""

    @model_validator(mode="after")
    def _low_lies_below_high(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must lie below high {self.high}")
        return self

    @property
    def step(self) -> float:
        """The distance between two stored levels, in units of the modality."""
        return (self.high - self.low) / (self.levels - 1)


class Grid(NamedTuple):
    """What a network takes or returns: channels at each place of a grid; a vector has one place."""

    channels: int
    size: tuple[int, ...]

    @property
    def num_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then size."""
        return (self.channels, *self.size)


Side = Annotated[int, Field(ge=16, le=4096)]


class ImageSpec(Config):
    """What every image of a dataset has in common, and all that a model must know about it."""

    channels: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of channels."""
    size: tuple[Side, Side] | tuple[Side, Side, Side] = (64, 64)
    """Rows and columns, or slices, rows and columns of volumes; each at least 16."""
    spacing_mm: PositiveFloat | None = None
    """Distance between voxels of volumes along each axis, in mm; null for slices, which have their own."""
    values: ValueRange = ValueRange()
    """Range of the values that the images keep."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their labels; empty if images have no labels."""
    masks: tuple[str, ...] = ()
    """Names of the regions that masks number from 1 up; empty if the source came without masks."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then the size."""
        return (self.channels, *self.size)

    @property
    def grid(self) -> Grid:
        """Channels and size, as a network takes or returns them."""
        return Grid(self.channels, self.size)

    @property
    def is_volume(self) -> bool:
        """Whether images have slices besides rows and columns."""
        return len(self.size) == 3


@dataclass(frozen=True)
class Batch:
    """Images of a step with their labels and, if the model takes them, masks."""

    images: Float[Tensor, "batch channel *space"]
    labels: Int[Tensor, " batch"]
    """The class of each image; 0 for an unlabelled one."""
    masks: UInt8[Tensor, "batch *space"] | None = None
    """0 for background, else the number of a region."""

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def __getitem__(self, rows: slice) -> "Batch":
        """Return some rows of the batch."""
        return Batch(self.images[rows], self.labels[rows], None if self.masks is None else self.masks[rows])

    def split(self, count: int) -> "list[Batch]":
        """Cut the batch into parts of ``count`` images, the last of which may have fewer."""
        return [self[start : start + count] for start in range(0, len(self), count)]


def num_at_once(values: int, shape: Sequence[int], *, copies: int = 1) -> int:
    """Return how many images of a shape, at least 1, make so many values in a step that holds each ``copies`` times.

    >>> [num_at_once(VALUES_AT_ONCE, (1, *size)) for size in [(32, 32), (64, 64), (128, 128), (128, 128, 128)]]
    [1024, 256, 64, 1]
    """
    return max(1, values // (copies * math.prod(shape)))


def to_stored(values: Values, kept: ValueRange) -> NDArray[np.uint16]:
    """Round modality units to the nearest stored level, clipping what lies outside the range."""
    levels = np.rint((np.asarray(values, np.float64) - kept.low) / kept.step)
    return np.clip(levels, 0, kept.levels - 1).astype(np.uint16)


def clipped_share(values: Values, kept: ValueRange) -> float:
    """Return the share of the values that ``to_stored`` clips."""
    return float(np.mean((values < kept.low) | (values > kept.high)))


def to_model_range(stored: Tensor, kept: ValueRange, *, out: Tensor | None = None) -> Tensor:
    """Scale stored levels, given as floats, to [-1, 1]; write into ``out`` if it is given, which may be the input.

    The highest level may come out as the float just below 1.
    """
    scale = 2.0 / (kept.levels - 1) * (1.0 - torch.finfo(stored.dtype).eps / 2)  # no rounding takes a level above 1
    lowest = torch.full((), -1.0, dtype=stored.dtype)
    return torch.add(lowest, stored, alpha=scale, out=out)  # multiplies and adds in one pass over the memory


def from_model_range(images: Tensor, kept: ValueRange) -> Tensor:
    """Turn [-1, 1] into modality units, clipping what a model drew outside."""
    return (images.clip(-1.0, 1.0) + 1.0) * ((kept.high - kept.low) / 2.0) + kept.low
