"""Settings of a preparation: sizes, ranges, splits, and whether images are slices or patches."""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from rayology.config import Config
from rayology.data.dicom.values import ModalityCode
from rayology.data.splits import Shares
from rayology.data.volumes.series import SeriesConfig
from rayology.image import ValueRange

__all__ = ["CT", "PatchesConfig", "PreparationConfig", "SlicesConfig"]

CT = "CT"


class SlicesConfig(Config):
    """Slices as images, padded to a square and resized."""

    kind: Literal["slices"] = "slices"
    """Each slice is an image, padded to a square and resized."""


class PatchesConfig(Config):
    """Patches of volumes whose axes are turned to left, back and head.

    Until the dataset is complete, all slices are kept in ``storage`` at full size, four bytes a value.
    """

    kind: Literal["patches"] = "patches"
    """Volumes are assembled from the slices of a series by position, and cut into boxes."""
    spacing_mm: PositiveFloat = 1.0
    """Distance in mm between voxels along each axis, to which volumes are resampled."""
    extent: Literal["all", "centre"] = "all"
    """all: boxes that cover the volume, up to half a voxel at its ends; centre: one box around its middle, cropped or
    padded, while files outside it count as skipped."""
    overlap: NonNegativeInt = 0
    """Least overlap of neighbouring boxes in voxels, if they cover the volume."""
    series: SeriesConfig = SeriesConfig()
    """Treatment of a series that is not a regular stack of slices; images train on filled and corrected ones alike."""


class PreparationConfig(Config):
    """Settings by which images become a dataset."""

    size: Annotated[int, Field(ge=16, le=4096)] = 64
    """Rows and columns of every image, and slices if images are patches; networks pad them to a multiple of 8."""
    cut: Annotated[SlicesConfig | PatchesConfig, Field(discriminator="kind")] = SlicesConfig()
    """Kind of images: slices, or patches of volumes."""
    modality: ModalityCode = ""
    """DICOM modality to keep, such as CT; empty if all images have the same."""
    units: Annotated[str, Field(pattern="^[A-Z0-9_]{0,33}$", title="capital letters, digits and _")] = ""
    """Units of PET to keep (DICOM Units, such as BQML or CNTS): GML is SUV by body weight, which Bq/ml become if the
    headers allow it, unless BQML is asked for; empty if all images have the same."""
    window: ValueRange = ValueRange()
    """Range that CT keeps, in Hounsfield units; other modalities use only its number of levels."""
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (0.5, 99.5)
    """Percentiles of the foreground between which other modalities keep values: of each series, or of all for PET."""
    min_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Least share of foreground in an image; emptier images are left out, except pictures with fixed grey levels."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Share of the patients whose images choose among models."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Share of the patients whose images judge the chosen model."""
    gap_mm: NonNegativeFloat = 5.0
    """Least distance in mm between slices of different splits if they come from one patient."""
    seed: NonNegativeInt = 0
    """Seed of the draw of patients into splits."""

    @model_validator(mode="after")
    def _numbers_agree(self) -> Self:
        if not self.percentiles[0] < self.percentiles[1]:
            raise ValueError(f"percentiles {self.percentiles}: the first must lie below the second")
        if isinstance(self.cut, PatchesConfig) and self.cut.overlap >= self.size:
            raise ValueError(f"cut.overlap {self.cut.overlap} must be less than size {self.size}")
        return self

    @property
    def shares(self) -> Shares:
        """Shares that are held out."""
        return Shares(self.validation, self.test)

    @property
    def gap_of_positions_mm(self) -> float:
        """Least distance between positions of images in different splits; a patch's position is its start."""
        return self.gap_mm + (self.size * self.cut.spacing_mm if isinstance(self.cut, PatchesConfig) else 0.0)

    def fill(self, pixels: NDArray[np.float32], modality: str, declared: ValueRange | None) -> float:
        """Return the value outside an image."""
        if declared:
            return declared.low
        return self.window.low if modality == CT else float(pixels.min())
