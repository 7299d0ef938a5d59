"""Pixels of slices put into a volume: what is interpolated, what is invalid, and masks beside it."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.data.peaks import peak_bytes

from rayology.data.volumes.assembly import assemble
from rayology.data.volumes.stack import Stack

ROWS, COLUMNS = 3, 4
SLICES = [np.full((1, ROWS, COLUMNS), value, np.float32) for value in (10.0, 20.0, 40.0)]
ALL = [np.ones((ROWS, COLUMNS), np.bool_)] * 3
MASKS = [np.full((ROWS, COLUMNS), value, np.uint8) for value in (1, 2, 3)]


def stack_of(
    places: list[float], *, offsets: NDArray[np.float64] | None = None, filled: tuple[int, ...] = (), more: int = 0
) -> Stack:
    return Stack(
        frames=(),
        affine=np.eye(4),
        size=(len(places), ROWS + more, COLUMNS),
        places=np.array(places),
        is_filled=np.isin(np.arange(len(places)), filled),
        offsets=np.zeros((3, 2)) if offsets is None else offsets,
        mended=(),
    )


def test_slices_in_place_are_taken_as_they_are() -> None:
    volume = assemble(stack_of([0, 1, 2]), SLICES, ALL, MASKS)

    np.testing.assert_array_equal(volume.pixels, np.stack(SLICES, axis=1))
    np.testing.assert_array_equal(volume.mask, np.stack(MASKS))
    assert volume.valid.all()


def test_between_slices_values_are_interpolated_and_masks_are_nearest() -> None:
    volume = assemble(stack_of([0, 0.75, 1.25, 2]), SLICES, ALL, MASKS)

    assert volume.pixels[0, :, 0, 0].tolist() == [10, 17.5, 25, 40]
    assert volume.mask is not None
    assert volume.mask[:, 0, 0].tolist() == [1, 2, 2, 3]
    assert volume.valid.all()


def test_a_filled_slice_is_invalid() -> None:
    volume = assemble(stack_of([0, 0.5, 1, 2], filled=(1,)), SLICES, ALL)

    assert volume.valid[:, 0, 0].tolist() == [True, False, True, True]
    assert volume.mask is None


def test_an_invalid_pixel_makes_invalid_what_it_takes_part_in() -> None:
    holes = [valid.copy() for valid in ALL]
    holes[1][2, 3] = False

    volume = assemble(stack_of([0, 0.5, 1, 1.5, 2]), SLICES, holes)

    assert np.argwhere(~volume.valid).tolist() == [[1, 2, 3], [2, 2, 3], [3, 2, 3]]


def test_a_shifted_slice_is_filled_around_with_the_lowest_value() -> None:
    offsets = np.array([[0.0, 0], [1, 0], [2, 0]])

    volume = assemble(stack_of([0, 1, 2], offsets=offsets, more=2), SLICES, ALL, MASKS)

    assert volume.pixels[0, :, :, 0].T.tolist() == [
        [10, 10, 10],
        [10, 20, 10],
        [10, 20, 40],
        [10, 20, 40],
        [10, 10, 40],
    ]
    assert volume.valid[:, :, 0].sum(1).tolist() == [3, 3, 3]
    assert volume.mask is not None
    assert volume.mask[:, :, 0].T.tolist() == [[1, 0, 0], [1, 2, 0], [1, 2, 3], [0, 2, 3], [0, 0, 3]]


def test_half_a_pixel_of_shift_averages_neighbours() -> None:
    rows = np.array([0.0, 1.0, 4.0], np.float32)[None, :, None].repeat(COLUMNS, 2)
    offsets = np.array([[0.5, 0.0]])

    volume = assemble(stack_of([0], offsets=offsets, more=1), [rows], ALL[:1])

    assert volume.pixels[0, 0, 1:3, 0].tolist() == [0.5, 2.5]
    assert volume.valid[0, :, 0].tolist() == [False, True, True, False]


def test_a_mask_shifts_by_whole_pixels() -> None:
    offsets = np.array([[0.25, 0.0], [0.75, 0.0]])

    volume = assemble(stack_of([0, 1], offsets=offsets, more=1), SLICES[:2], ALL[:2], MASKS[:2])

    assert volume.mask is not None
    assert volume.mask[:, :, 0].tolist() == [[1, 1, 1, 0], [0, 2, 2, 2]]


def test_a_stack_without_a_valid_pixel_is_filled_with_zero() -> None:
    nothing = [np.zeros((ROWS, COLUMNS), np.bool_)] * 3
    offsets = np.array([[0.0, 0], [1, 0], [1, 0]])

    volume = assemble(stack_of([0, 1], offsets=offsets, more=1), SLICES, nothing)

    assert volume.pixels[0, 0, -1, 0] == 0
    assert not volume.valid.any()


@pytest.mark.parametrize("places", [np.arange(32), np.arange(63) / 2], ids=["as they are", "interpolated"])
def test_a_series_without_holes_takes_little_more_memory_than_its_volume(places: NDArray[np.float64]) -> None:
    slices = [np.full((1, 128, 128), number, np.float32) for number in range(32)]
    valid = [np.ones((128, 128), np.bool_)] * 32
    stack = replace(stack_of(places.tolist()), size=(len(places), 128, 128), offsets=np.zeros((32, 2)))

    peak = peak_bytes(lambda: assemble(stack, slices, valid))

    assert peak < 1.5 * 4 * len(places) * 128 * 128
