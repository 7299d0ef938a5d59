"""What a preparation is asked for: sizes, ranges, splits, and whether images are slices or patches."""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from rayology.config import Config
from rayology.data.dicom.values import ModalityCode
from rayology.data.splits import Shares
from rayology.data.volumes.series import SeriesConfig
from rayology.image import ValueRange

__all__ = ["PET", "PatchesConfig", "PreparationConfig", "SlicesConfig"]

CT, PET = "CT", "PT"
FRACTION = "fraction of the series' range"
FRACTION_OF_ALL = "fraction of the dataset's range"


class SlicesConfig(Config):
    """Every slice as an image."""

    kind: Literal["slices"] = "slices"
    """Rows and columns, padded to a square and averaged to the size."""


class PatchesConfig(Config):
    """Boxes of slices, rows and columns, cut from volumes that are turned to left, back and head.

    Until the dataset is made, all its slices lie in ``storage`` as they are, four bytes a value.
    """

    kind: Literal["patches"] = "patches"
    """Volumes are put together from the slices of a series, by position."""
    spacing_mm: PositiveFloat = 1.0
    """The distance between voxels along each axis, to which volumes are resampled."""
    extent: Literal["all", "centre"] = "all"
    """all: boxes that cover the volume, up to half a voxel at its ends; centre: one box about its middle, cropped or
    padded, and files beside it are counted as skipped."""
    overlap: NonNegativeInt = 0
    """By how many voxels boxes next to each other overlap at least, where they cover the volume."""
    series: SeriesConfig = SeriesConfig()
    """What becomes of a series that is no regular stack of slices; one that is filled in is trained on like others."""


class PreparationConfig(Config):
    """How images become a dataset."""

    size: Annotated[int, Field(ge=16, le=4096, multiple_of=8)] = 64
    """Rows and columns of every image, and slices where images are patches."""
    cut: Annotated[SlicesConfig | PatchesConfig, Field(discriminator="kind")] = SlicesConfig()
    """What an image is: a slice, or a patch of a volume."""
    modality: ModalityCode = ""
    """The DICOM modality to keep, such as CT; empty where all images have the same."""
    window: ValueRange = ValueRange()
    """What CT keeps, in Hounsfield units; other modalities take only its levels."""
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (0.5, 99.5)
    """What other modalities keep: between these percentiles of the foreground of each series; of PET, of all."""
    min_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The least share of an image that must be foreground; emptier ones are left out. Pictures all stay."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """The share of the patients whose images choose among models."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """The share of the patients whose images judge the chosen model."""
    gap_mm: NonNegativeFloat = 5.0
    """The least distance between slices of different splits where they come from one patient."""
    seed: NonNegativeInt = 0
    """Which patients fall into which split."""

    @model_validator(mode="after")
    def _numbers_agree(self) -> Self:
        if not self.percentiles[0] < self.percentiles[1]:
            raise ValueError(f"percentiles {self.percentiles}: the first must lie below the second")
        if isinstance(self.cut, PatchesConfig) and self.cut.overlap >= self.size:
            raise ValueError(f"cut.overlap {self.cut.overlap} must be less than size {self.size}")
        return self

    @property
    def shares(self) -> Shares:
        """What is held out."""
        return Shares(self.validation, self.test)

    @property
    def gap_of_positions_mm(self) -> float:
        """The least distance between the positions of images of different splits: a patch starts at its own."""
        return self.gap_mm + (self.size * self.cut.spacing_mm if isinstance(self.cut, PatchesConfig) else 0.0)

    def fill(self, pixels: NDArray[np.float32], modality: str, declared: ValueRange | None) -> float:
        """Return the value of what lies outside an image."""
        if declared:
            return declared.low
        return self.window.low if modality == CT else float(pixels.min())

    def kept_values(self, modality: str, declared: ValueRange | None) -> ValueRange:
        """Return what the images of a dataset keep, given the range that their source declares."""
        if declared:
            return declared
        if modality == CT:
            return self.window
        unit = FRACTION_OF_ALL if modality == PET else FRACTION
        return ValueRange(low=0.0, high=1.0, unit=unit, levels=self.window.levels)
