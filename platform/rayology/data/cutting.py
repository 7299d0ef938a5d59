"""Cut the volumes that the slices of a series make into patches; runs in workers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rayology.data.duplicates import THUMBNAIL
from rayology.data.preparation import PatchesConfig, PreparationConfig
from rayology.data.records import ONE_CHANNEL, ImageRecord, Outcome, Pixels, Work
from rayology.data.scratch import Scratch
from rayology.data.volumes.assembly import assemble
from rayology.data.volumes.resampling import resample, resampled_size
from rayology.data.volumes.series import Frame
from rayology.data.volumes.stack import Stack, arrange
from rayology.data.volumes.volume import Volume, crop_or_pad, cut, orient, patches, starts
from rayology.errors import SeriesError
from rayology.imaging import without_equal_channels

__all__ = ["OUTSIDE", "cut_series"]

MAX_VALUES = 2**29
"""Most values of a resampled volume: 800 x 800 x 800, in 2 GiB."""
MAX_VALUES_OF_PATCHES = 2**30
"""Most values of all patches of a series, which travel together: 4,096 patches of 64 x 64 x 64, in 4 GiB."""
MIXED = "slices of one volume differ in their class or their split; give them one"
OUTSIDE = "lies outside all patches of its volume, by preparation.cut.extent or, at an end, preparation.cut.spacing_mm"
"""Why a sound file is in no image."""
SAME_PLACE = 1e-6
"""Share of a slice by which a box may overlap it without showing it, because positions are rounded."""


def cut_series(
    images: Sequence[ImageRecord], scratch: Scratch, preparation: PreparationConfig, rules: PatchesConfig
) -> Work:
    """Assemble the slices of a series into volumes and cut them into patches, with a reason for each unused slice."""
    frames = {_frame(record, scratch): record for record in images}
    arranged = arrange(list(frames), rules.series)
    records: list[ImageRecord] = []
    pixels: list[Pixels] = []
    reasons = [(frames[frame].item, f"SeriesError: {why}") for frame, why in arranged.left_out]
    mended: list[str] = []
    is_shown: dict[int, bool] = {}
    room = MAX_VALUES_OF_PATCHES
    for stack in arranged.stacks:
        members = [frames[frame] for frame in stack.frames]
        first = members[0]
        try:
            volume = _volume(stack, members, scratch)
            upright = orient(volume)
            room -= _needed(upright, rules, preparation.size, room)
        except SeriesError as error:
            reasons += [(each.item, f"SeriesError: {error}") for each in members]
            continue
        fill = preparation.fill(volume.pixels, first.modality, first.values)
        boxes = _boxes(upright, rules, preparation.size, fill=fill)
        records += [_record(box, volume, first) for box in boxes]
        thumbnails = [_thumbnail(upright), *[None] * (len(boxes) - 1)]
        pixels += [Pixels(box.pixels, box.mask, shown) for box, shown in zip(boxes, thumbnails, strict=True)]
        mended += stack.mended

        shown = _shown(boxes, volume, stack)
        for number, each in enumerate(members):
            is_shown[each.item] = number in shown or is_shown.get(each.item, False)
    reasons += [(item, OUTSIDE) for item, any_slice in is_shown.items() if not any_slice]
    return Outcome(tuple(records), tuple(reasons), tuple(mended)), pixels


def _frame(record: ImageRecord, scratch: Scratch) -> Frame:
    # The pixels are read again when their volume is put together: a series of many phases may not fit in memory.
    return Frame.of(
        scratch.image(record.shape, record.row),
        record.who,
        number=record.row,
        geometry=record.geometry,
        facts=record.header,
    )


def _volume(stack: Stack, members: Sequence[ImageRecord], scratch: Scratch) -> Volume:
    """Assemble the slices of a stack; raise SeriesError if they are of several classes or splits."""
    if len({(each.label, each.declared) for each in members}) > 1:
        raise SeriesError(MIXED)
    pixels = [scratch.image(each.shape, each.row) for each in members]
    valid: list[NDArray[np.bool_]] = [np.ones(plane.shape[1:], np.bool_) for plane in pixels]  # padding is filled
    has_masks = any(each.has_mask for each in members)
    masks = [scratch.mask(each.shape, each.row) for each in members] if has_masks else None
    volume = assemble(stack, pixels, valid, masks)
    return replace(volume, pixels=without_equal_channels(volume.pixels))


def _needed(volume: Volume, rules: PatchesConfig, side: int, room: int) -> int:
    """Return how many values the patches of an oriented volume have; raise SeriesError if it or they have too many."""
    channels = len(volume.pixels)
    size = resampled_size(volume, _spacing_mm(rules))
    if channels * math.prod(size) > MAX_VALUES:
        extents_mm = (length * spacing for length, spacing in zip(volume.size, volume.spacing_mm, strict=True))
        raise SeriesError(
            f"the volume spans {' x '.join(f'{extent:.0f}' for extent in extents_mm)} mm, too many voxels of "
            f"{rules.spacing_mm:g} mm; raise preparation.cut.spacing_mm, or leave the series out"
        )
    num_patches = 1
    if rules.extent == "all":
        num_patches = math.prod(len(starts(max(length, side), side, overlap=rules.overlap)) for length in size)
    num_values = channels * num_patches * side**3
    if num_values > room:
        raise SeriesError(
            f"the volume makes {num_patches} patches of {side} x {side} x {side}, too many to hold together with those "
            f"of its series at {4 * num_values / 2**30:.1f} GiB; lower preparation.cut.overlap or preparation.size, or "
            "raise preparation.cut.spacing_mm"
        )
    return num_values


def _spacing_mm(rules: PatchesConfig) -> tuple[float, float, float]:
    return (rules.spacing_mm, rules.spacing_mm, rules.spacing_mm)


def _boxes(volume: Volume, rules: PatchesConfig, side: int, *, fill: float) -> list[Volume]:
    """Resample an oriented volume to the wanted spacing and cut it."""
    whole = resample(volume, _spacing_mm(rules))
    match rules.extent:
        case "all":
            return list(patches(whole, (side, side, side), overlap=rules.overlap, fill=fill))
        case "centre":
            return [crop_or_pad(whole, (side, side, side), fill=fill)]


def _record(box: Volume, volume: Volume, first: ImageRecord) -> ImageRecord:
    """Return the record of a patch, given that of the first slice of its volume."""
    return replace(
        first,
        shape=box.pixels.shape,
        geometry=box.geometry,
        between_slices_mm=box.spacing_mm[0],
        original_size=volume.size,
        has_mask=box.mask is not None,
        changed=(*first.changed, ONE_CHANNEL) if len(box.pixels) < first.shape[0] else first.changed,
    )


def _thumbnail(volume: Volume) -> NDArray[np.float32]:
    """Return the middle slice of an oriented volume, averaged over channels and stretched to the thumbnail shape."""
    slices, rows, columns = volume.size
    middle = cut(volume, (slices // 2, 0, 0), (1, rows, columns))
    between_slices_mm, between_rows_mm, between_columns_mm = volume.spacing_mm
    _, new_rows, new_columns = THUMBNAIL
    stretched = (between_slices_mm, between_rows_mm * rows / new_rows, between_columns_mm * columns / new_columns)
    return resample(middle, stretched).pixels.mean(0)


def _shown(boxes: Sequence[Volume], volume: Volume, stack: Stack) -> range:
    """Return the numbers of the frames whose slices lie at least partly between the outermost ends of the boxes."""
    ends = np.array([(-0.5, -0.5, -0.5, 1.0), (*(length - 0.5 for length in boxes[0].size), 1.0)])
    to_slices = np.linalg.inv(volume.affine)[0]  # boxes and volume share their axes, up to turns
    along = np.stack([ends @ box.affine.T @ to_slices for box in boxes])
    first = math.floor(along.min() - 0.5 + SAME_PLACE) + 1
    last = math.ceil(along.max() + 0.5 - SAME_PLACE) - 1
    places = stack.places[max(first, 0) : last + 1]
    return range(math.floor(places.min()), math.ceil(places.max()) + 1)
