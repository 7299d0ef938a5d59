"""From one file to images under pseudonyms, brought to one size or left for a volume: what a worker does."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from rayology.config import Config
from rayology.data.dicom import Facts, Geometry
from rayology.data.dicom.values import ModalityCode
from rayology.data.identity import Pseudonyms, pseudonyms
from rayology.data.pet import MODALITY as PET
from rayology.data.sources import Example, Item, Source
from rayology.data.splits import Shares, SplitName
from rayology.data.volumes.series import NO_SERIES, SeriesConfig
from rayology.errors import DataError, NotAnImage, SeriesError, SourceError, SourceLost
from rayology.image import ValueRange
from rayology.imaging import conform, conform_mask, conformed_spacing

__all__ = ["ImageFacts", "PatchesConfig", "PreparationConfig", "ReadImage", "Reading", "SlicesConfig", "read_item"]

CT, SEGMENTATION = "CT", "SEG"
FRACTION = "fraction of the series' range"
FRACTION_OF_ALL = "fraction of the dataset's range"
NOTHING_KNOWN = Facts()


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

    def kept_values(self, facts: "ImageFacts") -> ValueRange:
        """Return what images like this one keep."""
        if facts.values:
            return facts.values
        if facts.modality == CT:
            return self.window
        unit = FRACTION_OF_ALL if facts.modality == PET else FRACTION
        return ValueRange(low=0.0, high=1.0, unit=unit, levels=self.window.levels)


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image beside its pixels."""

    who: Pseudonyms
    modality: str
    label: str
    shape: tuple[int, ...]
    """Channels, and rows and columns, of a patch slices, rows and columns."""
    geometry: Geometry
    """With the spacing that the pixels have; of a patch the place of its first slice."""
    syntax: str
    """The name of the transfer syntax; empty where the image did not come as DICOM."""
    original_size: tuple[int, ...]
    """Rows and columns before they were conformed; of a patch the size of its volume."""
    has_mask: bool = False
    values: ValueRange | None = None
    """The range of all images of this kind; None where the modality or the series decides."""
    split: SplitName | None = None
    """The split that the source put it into."""
    official: bool = False
    """Whether that split was published with the images."""
    in_table: bool | None = None
    """Whether the source's table says something of it; None where there is none."""
    header: Facts = NOTHING_KNOWN
    """What tells slices of a volume apart; nothing where images are slices."""
    between_slices_mm: float | None = None
    """The distance between the slices of a patch."""
    thumbnail: int | None = None
    """Of a patch, which of the thumbnails in the scratch shows its volume."""

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Between rows and columns, of a patch between slices, rows and columns."""
        spacing_mm = self.geometry.spacing_mm
        return (self.between_slices_mm, *spacing_mm) if self.between_slices_mm and spacing_mm else spacing_mm


@dataclass(frozen=True)
class ReadImage:
    """An image in modality units: a slice of the dataset's size, a slice of a volume as it is, or a patch."""

    facts: ImageFacts
    pixels: NDArray[np.float32]
    """Of the shape that the facts say."""
    mask: NDArray[np.uint8] | None
    """As the pixels without channels: 0 outside, the number of the region inside."""


@dataclass(frozen=True)
class Reading:
    """What became of an item: its images, or the reason why there are none."""

    images: tuple[ReadImage, ...] = ()
    reason: str = ""
    modality: str = ""
    """Of an image whose modality was not asked for."""


def read_item(source: Source, item: Item, preparation: PreparationConfig, key: bytes) -> Reading:
    """Read an item into images under pseudonyms; one that is no image gives its reason, never an error.

    Raises:
        SourceLost: the source itself cannot be read here, whatever the item, such as a table that this node lacks.
    """
    images: list[ReadImage] = []
    try:
        for example in source.read(item):
            modality = example.instance.modality
            if preparation.modality not in {"", modality}:
                return Reading(modality=modality or "unknown")
            if modality == SEGMENTATION:
                raise NotAnImage("holds a segmentation, no image")
            images.append(_read_image(example, preparation, key))
    except SourceError as error:
        raise SourceLost(str(error)) from None
    except DataError as error:
        return Reading(reason=f"{type(error).__name__}: {error}")
    return Reading(tuple(images))


def _read_image(example: Example, preparation: PreparationConfig, key: bytes) -> ReadImage:
    instance = example.instance
    rows, columns = instance.valid.shape
    facts = ImageFacts(
        who=pseudonyms(instance.identity, key, seed=preparation.seed),
        modality=instance.modality,
        label=example.label,
        shape=instance.pixels.shape,
        geometry=instance.geometry,
        syntax=instance.syntax,
        original_size=(rows, columns),
        has_mask=example.mask is not None,
        values=example.values,
        split=example.split,
        official=example.official,
        in_table=example.in_table,
    )
    match preparation.cut:
        case PatchesConfig():
            if not instance.identity.series:
                raise SeriesError(NO_SERIES)
            return ReadImage(replace(facts, header=instance.facts), instance.pixels, example.mask)
        case SlicesConfig():
            return _conformed(ReadImage(facts, instance.pixels, example.mask), preparation)


def _conformed(image: ReadImage, preparation: PreparationConfig) -> ReadImage:
    """Bring a slice to the size, and its spacing with it."""
    facts, size = image.facts, (preparation.size, preparation.size)
    rows, columns = image.pixels.shape[1:]
    spacing_mm = facts.geometry.spacing_mm
    if spacing_mm:
        spacing_mm = conformed_spacing(spacing_mm, (rows, columns), size)
    fill = preparation.fill(image.pixels, facts.modality, facts.values)
    return ReadImage(
        replace(facts, shape=(len(image.pixels), *size), geometry=replace(facts.geometry, spacing_mm=spacing_mm)),
        conform(image.pixels, size, fill=fill),
        None if image.mask is None else conform_mask(image.mask, size),
    )
