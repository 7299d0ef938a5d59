"""Read one item of a source into images under pseudonyms, resized or left for a volume; runs in workers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rayology.data.dicom import Instance
from rayology.data.dicom.pet import BQML, PET, SUV
from rayology.data.identity import Identity, pseudonyms
from rayology.data.preparation import PatchesConfig, PreparationConfig
from rayology.data.records import ONE_CHANNEL, ImageRecord, Outcome, Pixels, Work
from rayology.data.sources import Example, Item, Source
from rayology.data.volumes.series import NO_SERIES
from rayology.errors import DataError, NotAnImage, NotSelected, SeriesError, SourceError, SourceLost
from rayology.imaging import conform, conform_mask, conformed_spacing, without_equal_channels

__all__ = ["read_item", "read_items"]

SEGMENTATION = "SEG"
MIN_SIDE = 4
"""Fewest rows or columns of a slice; what has fewer was cut across, as a single sagittal slice may be."""
SQUARE_PIXELS = "pixels became square"


def read_items(
    source: Source, preparation: PreparationConfig, key: bytes, items: Sequence[tuple[int, Item]]
) -> list[Work]:
    """Read numbered items, each as ``read_item`` does."""
    return [read_item(source, number, item, preparation, key) for number, item in items]


def read_item(source: Source, number: int, item: Item, preparation: PreparationConfig, key: bytes) -> Work:
    """Read an item into images under pseudonyms, or into the reason why it is not an image.

    Raises:
        SourceLost: no item can be read here, for example because this node lacks the table.
    """
    if item.reason:
        return Outcome(reasons=((number, item.reason),)), ()
    images: list[ImageRecord] = []
    pixels: list[Pixels] = []
    try:
        for example in source.read(item):
            modality = example.instance.modality
            if preparation.modality not in {"", modality}:
                return Outcome(other_modality=modality or "unknown"), ()
            if modality == SEGMENTATION:
                raise NotAnImage("holds a segmentation, not an image")
            shown = replace(example, instance=_in_units(example.instance, preparation.units))
            record, own = _prepared(shown, _record(shown, number, preparation, key), preparation)
            images.append(record)
            pixels.append(own)
    except SourceError as error:
        raise SourceLost(str(error)) from None
    except DataError as error:
        original = None
        if isinstance(error, NotSelected) and error.study:
            study = pseudonyms(Identity(study=error.study), key, seed=preparation.seed).study
            original = (study, error.modality)
        return Outcome(reasons=((number, f"{type(error).__name__}: {error}"),), original=original), ()
    return Outcome(tuple(images)), pixels


def _in_units(instance: Instance, asked: str) -> Instance:
    """Return PET as SUV if its header allows it and Bq/ml are not asked for; raise NotSelected if other units are."""
    if instance.modality != PET:
        return instance
    if instance.suv_scale and asked != BQML:
        instance = replace(instance, pixels=instance.pixels * np.float32(instance.suv_scale), units=SUV)
    if asked not in {"", instance.units}:
        raise NotSelected(f"its units are not {asked} (preparation.units)")
    return instance


def _record(example: Example, number: int, preparation: PreparationConfig, key: bytes) -> ImageRecord:
    instance = example.instance
    rows, columns = instance.valid.shape
    return ImageRecord(
        who=pseudonyms(instance.identity, key, seed=preparation.seed),
        modality=instance.modality,
        shape=instance.pixels.shape,
        geometry=instance.geometry,
        original_size=(rows, columns),
        item=number,
        label=example.label,
        syntax=instance.syntax,
        units=instance.units,
        is_capture=instance.is_capture,
        has_mask=example.mask is not None,
        values=example.values,
        declared=example.split,
        official=example.official,
        in_table=example.in_table,
        changed=(f"other frames of the file were left out: {instance.left_out}",) if instance.left_out else (),
    )


def _prepared(example: Example, record: ImageRecord, preparation: PreparationConfig) -> tuple[ImageRecord, Pixels]:
    """Resize a slice, or leave it as it is for its volume; raise SeriesError if it then names no series."""
    instance, pixels, mask = example.instance, example.instance.pixels, example.mask
    if isinstance(preparation.cut, PatchesConfig):
        if not instance.identity.series:
            raise SeriesError(NO_SERIES)
        return replace(record, header=instance.facts), Pixels(pixels, mask)
    rows, columns = pixels.shape[1:]
    if min(rows, columns) < MIN_SIDE:
        raise NotAnImage(f"is {rows} x {columns} pixels, too thin for an image; of NIfTI, set source.plane")
    size = (preparation.size, preparation.size)
    pixels = without_equal_channels(pixels)
    spacing_mm, aspect = record.geometry.spacing_mm, record.geometry.aspect
    if spacing_mm:
        spacing_mm = conformed_spacing(spacing_mm, (rows, columns), size, aspect=aspect)
    changes = ((ONE_CHANNEL, pixels is not instance.pixels), (SQUARE_PIXELS, aspect != 1))
    changed = (*record.changed, *(what for what, is_so in changes if is_so))
    geometry = replace(record.geometry, spacing_mm=spacing_mm, aspect=1.0)
    record = replace(record, shape=(len(pixels), *size), geometry=geometry, changed=changed)
    fill = preparation.fill(pixels, record.modality, record.values)
    inside = None if mask is None else conform_mask(mask, size, aspect=aspect)
    return record, Pixels(conform(pixels, size, fill=fill, aspect=aspect), inside)
