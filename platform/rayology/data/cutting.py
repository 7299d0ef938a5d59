"""From the slices of a series to patches of its volumes."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rayology.data.assembly import assemble
from rayology.data.census import Census, Found
from rayology.data.patches import patches
from rayology.data.preparation import ImageFacts, PatchesConfig, PreparationConfig, ReadImage
from rayology.data.resampling import resample
from rayology.data.scratch import Scratch
from rayology.data.series import Frame
from rayology.data.source import Item
from rayology.data.stack import Stack, arrange
from rayology.data.volume import Volume, crop_or_pad, orient
from rayology.errors import SeriesError

__all__ = ["Cut", "cut_series", "series_of"]

MAX_VALUES = 2**29
"""The most values of a volume after it was resampled: 800 x 800 x 800, in 2 GiB."""
MIXED = "slices of one volume differ in their class or their split; give them one"


@dataclass(frozen=True)
class Cut:
    """What became of the slices of a series; each is in a patch, or has a reason why not."""

    patches: tuple[tuple[Item, ReadImage], ...] = ()
    """Each with the item of its volume's first slice."""
    reasons: tuple[tuple[Item, str], ...] = ()
    """Why an item, or a slice of it, is in no volume."""
    mended: tuple[str, ...] = ()


def series_of(census: Census) -> list[list[Found]]:
    """Return the slices of each series that was found, in the order in which the series came."""
    series: dict[str, list[Found]] = {}
    for found in census.found:
        series.setdefault(found.facts.who.series, []).append(found)
    return list(series.values())


def cut_series(found: Sequence[Found], scratch: Scratch, preparation: PreparationConfig) -> Cut:
    """Put the slices of a series together and cut them into patches; what makes no volume gives its reason."""
    assert isinstance(preparation.cut, PatchesConfig)  # noqa: S101 - slices are not cut
    frames = {_frame(each, scratch): each for each in found}
    arranged = arrange(list(frames), preparation.cut.series)
    cut: list[tuple[Item, ReadImage]] = []
    reasons = [(frames[frame].item, f"SeriesError: {why}") for frame, why in arranged.left_out]
    mended: list[str] = []
    for stack in arranged.stacks:
        members = [frames[frame] for frame in stack.frames]
        first = members[0]
        try:
            volume = _volume(stack, members, scratch)
            cut += [(first.item, _image(box, volume, first.facts)) for box in _boxes(volume, first, preparation)]
            mended += stack.mended
        except SeriesError as error:
            reasons += [(each.item, f"SeriesError: {error}") for each in members]
    return Cut(tuple(cut), tuple(reasons), tuple(mended))


def _frame(found: Found, scratch: Scratch) -> Frame:
    facts = found.facts
    channels, rows, columns = facts.shape
    return Frame(
        file=found.item.path,
        number=found.row,
        study=facts.who.study,
        series=facts.who.series,
        shape=(channels, rows, columns),
        geometry=facts.geometry,
        frame_of_reference=facts.who.frame_of_reference,
        facts=facts.header,
        digest=hashlib.sha256(scratch.image(facts.shape, found.row).tobytes()).hexdigest(),
    )


def _volume(stack: Stack, members: Sequence[Found], scratch: Scratch) -> Volume:
    """Put the slices of a stack together.

    Raises:
        SeriesError: they are of several classes or splits.
    """
    if len({(each.facts.label, each.facts.split) for each in members}) > 1:
        raise SeriesError(MIXED)
    pixels = [scratch.image(each.facts.shape, each.row) for each in members]
    valid: list[NDArray[np.bool_]] = [np.ones(plane.shape[1:], np.bool_) for plane in pixels]  # padding is filled
    masks = None
    if any(each.facts.has_mask for each in members):
        masks = [scratch.mask(each.facts.shape, each.row) for each in members]
    return assemble(stack, pixels, valid, masks)


def _boxes(volume: Volume, first: Found, preparation: PreparationConfig) -> Iterator[Volume]:
    """Cut a volume at the spacing that is asked for.

    Raises:
        SeriesError: it would have more voxels than any volume.
    """
    assert isinstance(preparation.cut, PatchesConfig)  # noqa: S101 - slices are not cut
    rules, side = preparation.cut, preparation.size
    extents_mm = [length * spacing for length, spacing in zip(volume.size, volume.spacing_mm, strict=True)]
    if len(volume.pixels) * math.prod(extent / rules.spacing_mm for extent in extents_mm) > MAX_VALUES:
        raise SeriesError(
            f"the volume spans {' x '.join(f'{extent:.0f}' for extent in extents_mm)} mm, too many voxels of "
            f"{rules.spacing_mm:g} mm; raise preparation.cut.spacing_mm, or leave the series out"
        )
    fill = preparation.fill(volume.pixels, first.facts.modality, first.facts.values)
    whole = resample(orient(volume), (rules.spacing_mm, rules.spacing_mm, rules.spacing_mm))
    match rules.extent:
        case "all":
            yield from patches(whole, (side, side, side), overlap=rules.overlap, fill=fill)
        case "centre":
            yield crop_or_pad(whole, (side, side, side), fill=fill)


def _image(box: Volume, volume: Volume, facts: ImageFacts) -> ReadImage:
    own = replace(
        facts,
        shape=box.pixels.shape,
        geometry=box.geometry,
        between_slices_mm=box.spacing_mm[0],
        size=volume.size,
        has_mask=box.mask is not None,
    )
    return ReadImage(own, box.pixels, box.mask)
