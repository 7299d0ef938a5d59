"""From one file to slices of one size under pseudonyms: what a worker does."""

from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from rayology.config import Config
from rayology.data.geometry import Geometry
from rayology.data.identity import Pseudonyms, pseudonyms
from rayology.data.imaging import conform, conform_mask, conformed_spacing
from rayology.data.pet import MODALITY as PET
from rayology.data.source import Example, Item, Source
from rayology.data.splits import Shares, SplitName
from rayology.errors import DataError, NotAnImage
from rayology.image import ValueRange

__all__ = ["PreparationConfig", "Reading", "Slice", "SliceFacts", "read_item"]

CT, SEGMENTATION = "CT", "SEG"
FRACTION = "fraction of the series' range"
FRACTION_OF_ALL = "fraction of the dataset's range"


class PreparationConfig(Config):
    """How images become a dataset."""

    size: Annotated[int, Field(ge=16, multiple_of=8)] = 64
    """Rows and columns of every image."""
    modality: Annotated[str, Field(pattern=r"^([A-Z0-9]{2,16})?$")] = ""
    """The DICOM modality to keep, such as CT; empty where all images have the same."""
    window: ValueRange = ValueRange()
    """What CT keeps, in Hounsfield units; other modalities take only its levels."""
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (0.5, 99.5)
    """What other modalities keep: between these percentiles of the foreground of each series; of PET, of all."""
    min_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The least share of a slice that must be foreground; emptier ones are left out. Pictures all stay."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """The share of the patients whose images choose among models."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """The share of the patients whose images judge the chosen model."""
    gap_mm: NonNegativeFloat = 5.0
    """The least distance between slices of different splits where they come from one patient."""
    seed: NonNegativeInt = 0
    """Which patients fall into which split."""

    @model_validator(mode="after")
    def _percentiles_rise(self) -> Self:
        if not self.percentiles[0] < self.percentiles[1]:
            raise ValueError(f"percentiles {self.percentiles}: the first must lie below the second")
        return self

    @property
    def shares(self) -> Shares:
        """What is held out."""
        return Shares(self.validation, self.test)

    def kept_values(self, facts: "SliceFacts") -> ValueRange:
        """Return what images like this one keep."""
        if facts.values:
            return facts.values
        if facts.modality == CT:
            return self.window
        unit = FRACTION_OF_ALL if facts.modality == PET else FRACTION
        return ValueRange(low=0.0, high=1.0, unit=unit, levels=self.window.levels)


@dataclass(frozen=True)
class SliceFacts:
    """What is known of a slice beside its pixels."""

    who: Pseudonyms
    modality: str
    label: str
    channels: int
    geometry: Geometry
    """With the spacing that the conformed pixels have."""
    syntax: str
    """The name of the transfer syntax; empty where the image did not come as DICOM."""
    size: tuple[int, int]
    """Rows and columns before they were conformed."""
    has_mask: bool = False
    values: ValueRange | None = None
    """The range of all images of this kind; None where the modality or the series decides."""
    split: SplitName | None = None
    """The split that the source put it into."""
    official: bool = False
    """Whether that split was published with the images."""


@dataclass(frozen=True)
class Slice:
    """A slice in modality units, brought to the dataset's size."""

    facts: SliceFacts
    pixels: NDArray[np.float32]
    """(channels, rows, columns)."""
    mask: NDArray[np.uint8] | None
    """(rows, columns): 0 outside, the number of the region inside."""


@dataclass(frozen=True)
class Reading:
    """What became of an item: its slices, or the reason why there are none."""

    slices: tuple[Slice, ...] = ()
    reason: str = ""
    modality: str = ""
    """Of an image whose modality was not asked for."""


def read_item(source: Source, item: Item, preparation: PreparationConfig, key: bytes) -> Reading:
    """Read an item into slices under pseudonyms; one that is no image gives its reason, never an error."""
    slices: list[Slice] = []
    try:
        for example in source.read(item):
            modality = example.instance.modality
            if preparation.modality not in {"", modality}:
                return Reading(modality=modality or "unknown")
            if modality == SEGMENTATION:
                raise NotAnImage("holds a segmentation, no image")
            slices.append(_conformed(example, preparation, key))
    except DataError as error:
        return Reading(reason=f"{type(error).__name__}: {error}")
    return Reading(tuple(slices))


def _conformed(example: Example, preparation: PreparationConfig, key: bytes) -> Slice:
    instance = example.instance
    size = (preparation.size, preparation.size)
    rows, columns = instance.valid.shape
    spacing_mm = instance.geometry.spacing_mm
    if spacing_mm:
        spacing_mm = conformed_spacing(spacing_mm, (rows, columns), size)
    facts = SliceFacts(
        who=pseudonyms(instance.identity, key, seed=preparation.seed),
        modality=instance.modality,
        label=example.label,
        channels=len(instance.pixels),
        geometry=replace(instance.geometry, spacing_mm=spacing_mm),
        syntax=instance.syntax,
        size=(rows, columns),
        has_mask=example.mask is not None,
        values=example.values,
        split=example.split,
        official=example.official,
    )
    return Slice(
        facts=facts,
        pixels=conform(instance.pixels, size, fill=_fill(example, preparation)),
        mask=None if example.mask is None else conform_mask(example.mask, size),
    )


def _fill(example: Example, preparation: PreparationConfig) -> float:
    """Return the value of what lies outside an image."""
    if example.values:
        return example.values.low
    if example.instance.modality == CT:
        return preparation.window.low
    return float(example.instance.pixels.min())
