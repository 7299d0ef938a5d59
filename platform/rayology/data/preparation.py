"""From one file to slices of one size under pseudonyms: what a worker does."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from rayology.config import Config
from rayology.data.dicom import Instance, read
from rayology.data.geometry import Geometry
from rayology.data.identity import Pseudonyms, pseudonyms
from rayology.data.imaging import conform, conformed_spacing
from rayology.data.source import Item
from rayology.data.splits import Shares
from rayology.errors import DataError, UnreadableImage
from rayology.image import ValueRange

__all__ = ["PreparationConfig", "Reading", "Slice", "SliceFacts", "read_item"]

CT = "CT"
FRACTION = "fraction of the series' range"


class PreparationConfig(Config):
    """How images become a dataset."""

    size: Annotated[int, Field(ge=16, multiple_of=8)] = 64
    """Rows and columns of every image."""
    modality: Annotated[str, Field(pattern=r"^([A-Z0-9]{2,16})?$")] = ""
    """The DICOM modality to keep, such as CT; empty where all images have the same."""
    window: ValueRange = ValueRange()
    """What CT keeps, in Hounsfield units; other modalities take only its levels."""
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] = (0.5, 99.5)
    """What other modalities keep: between these percentiles of the foreground of each series."""
    min_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """The least share of an image that must be foreground; emptier ones are left out."""
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

    def kept_values(self, modality: str) -> ValueRange:
        """Return what images of a modality keep."""
        if modality == CT:
            return self.window
        return ValueRange(low=0.0, high=1.0, unit=FRACTION, levels=self.window.levels)


@dataclass(frozen=True)
class SliceFacts:
    """What is known of a slice beside its pixels."""

    who: Pseudonyms
    modality: str
    label: str
    channels: int
    geometry: Geometry
    """With the spacing that the conformed pixels have."""


@dataclass(frozen=True)
class Slice:
    """A slice in modality units, brought to the dataset's size."""

    facts: SliceFacts
    pixels: NDArray[np.float32]
    """(channels, rows, columns)."""
    mask: NDArray[np.uint8] | None
    """(rows, columns): 1 inside the lesion, 0 outside."""


@dataclass(frozen=True)
class Reading:
    """What became of a file: its slices, or the reason why there are none."""

    slices: tuple[Slice, ...] = ()
    reason: str = ""
    modality: str = ""
    """Of an image whose modality was not asked for."""


def read_item(item: Item, preparation: PreparationConfig, key: bytes) -> Reading:
    """Read a file into slices under pseudonyms; a file that is no image gives its reason, never an error."""
    try:
        instances = read(item.path)
        modality = instances[0].modality
        if preparation.modality not in {"", modality}:
            return Reading(modality=modality or "unknown")
        mask = _read_mask(item.mask, instances) if item.mask else None
    except DataError as error:
        return Reading(reason=f"{type(error).__name__}: {error}")

    who = pseudonyms(instances[0].identity, key, seed=preparation.seed)
    return Reading(tuple(_conformed(instance, item, mask, who, preparation) for instance in instances))


def _conformed(
    instance: Instance, item: Item, mask: NDArray[np.bool_] | None, who: Pseudonyms, preparation: PreparationConfig
) -> Slice:
    size = (preparation.size, preparation.size)
    shape = instance.valid.shape
    spacing_mm = instance.geometry.spacing_mm
    if spacing_mm:
        spacing_mm = conformed_spacing(spacing_mm, (shape[0], shape[1]), size)
    facts = SliceFacts(
        who=who,
        modality=instance.modality,
        label=item.label,
        channels=len(instance.pixels),
        geometry=replace(instance.geometry, spacing_mm=spacing_mm),
    )
    fill = preparation.window.low if instance.modality == CT else float(instance.pixels.min())
    return Slice(
        facts=facts,
        pixels=conform(instance.pixels, size, fill=fill),
        mask=None if mask is None else (conform(mask[None].astype(np.float32), size, fill=0.0)[0] >= 0.5).astype("u1"),
    )


def _read_mask(file: Path, instances: tuple[Instance, ...]) -> NDArray[np.bool_]:
    try:
        with Image.open(file) as opened:
            mask = np.asarray(opened.convert("L")) > 0
    except (OSError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"its mask cannot be read ({type(error).__name__}); write it as PNG") from None
    if len(instances) > 1 or mask.shape != instances[0].valid.shape:
        raise UnreadableImage(
            f"its mask has {mask.shape[0]} x {mask.shape[1]} pixels, the image {len(instances)} frames of "
            f"{instances[0].valid.shape[0]} x {instances[0].valid.shape[1]}; write one of the same size"
        )
    return mask
