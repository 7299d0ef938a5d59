"""Pictures for people show what they are given."""

import numpy as np
import pytest
import torch

from rayology.image import ValueRange
from rayology.picture import GAP, LINE, MARGIN, SCALE_WIDTH, contact_sheet, labelled_sheet, num_planes, to_grey_levels


def test_the_ends_of_the_range_are_black_and_white() -> None:
    levels = to_grey_levels(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5))

    assert levels.flatten().tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_each_image_stands_in_its_tile(channels: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, channels, 8, 6), dtype=np.uint8)

    sheet = np.asarray(contact_sheet(levels, columns=3))

    fourth = sheet[8:16, :6] if channels == 3 else sheet[8:16, : 6 * channels]
    expected = levels[3].transpose(1, 2, 0) if channels == 3 else np.concatenate(list(levels[3]), axis=1)
    assert np.array_equal(fourth, expected)
    assert not sheet[8:, -6:].any()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_volume_is_shown_as_its_middle_planes_with_the_head_up(channels: int) -> None:
    levels = np.random.default_rng(0).integers(1, 256, (2, channels, 4, 8, 6), dtype=np.uint8)

    sheet = np.asarray(contact_sheet(levels, columns=1))

    assert not sheet[8 : 8 + GAP].any()
    second = sheet[8 + GAP :]
    each = [second] if channels == 3 else [second[:, at * (20 + GAP) :][:, :20] for at in range(channels)]
    volumes = [levels[1].transpose(1, 2, 3, 0)] if channels == 3 else levels[1]
    for planes, shown in zip(each, volumes, strict=True):
        axial, coronal, sagittal = np.split(planes, [6, 12], axis=1)
        assert np.array_equal(axial, shown[2])
        assert np.array_equal(coronal[2:6], shown[::-1, 4])
        assert np.array_equal(sagittal[2:6], shown[::-1, :, 3])
        assert not coronal[[0, 1, 6, 7]].any()


def test_a_labelled_sheet_has_a_row_for_each_label_and_shows_the_images_right_of_it() -> None:
    rows = {"first": torch.full((3, 1, 48, 48), 1.0), "second": torch.full((2, 1, 48, 48), -1.0)}

    sheet = np.asarray(labelled_sheet(rows, ValueRange()))

    assert sheet.shape == (192 + LINE, MARGIN + 192)
    assert (sheet[:96, MARGIN:] == 255).all()
    assert not sheet[96:192, MARGIN:].any()
    assert sheet[:96, :MARGIN].any()
    assert sheet[96:192, :MARGIN].any()


def test_captions_stand_above_their_columns() -> None:
    black = {"real": torch.full((2, 1, 96, 96), -1.0)}

    bare = np.asarray(labelled_sheet(black, ValueRange()))
    sheet = np.asarray(labelled_sheet(black, ValueRange(), captions=["", "nodule"]))

    assert np.array_equal(sheet[LINE:], bare)
    assert not sheet[:LINE, : MARGIN + 96].any()
    assert sheet[:LINE, MARGIN + 96 :].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_labelled_sheet_ends_with_a_scale_from_black_to_white(channels: int) -> None:
    sheet = labelled_sheet({"real": torch.full((1, channels, 96, 96), -1.0)}, ValueRange())

    line = np.asarray(sheet.convert("L"))[-LINE // 2]
    starts = [at for at in range(len(line)) if (np.diff(line[at : at + SCALE_WIDTH].astype(int)) >= 0).all()]
    assert any(line[at] < 5 and line[at + SCALE_WIDTH - 1] > 250 for at in starts if at + SCALE_WIDTH <= len(line))


def test_each_plane_of_a_small_volume_is_enlarged_on_a_labelled_sheet() -> None:
    sheet = labelled_sheet({"volumes": torch.zeros(2, 1, 32, 32, 32)}, ValueRange())

    assert sheet.size == (MARGIN + 2 * 3 * 96 + 3 * GAP, 96 + LINE)


@pytest.mark.parametrize(("size", "expected"), [((32, 32), 1), ((32, 32, 32), 3)])
def test_a_sheet_is_as_wide_as_the_planes_that_it_is_said_to_show(size: tuple[int, ...], expected: int) -> None:
    levels = np.zeros((1, 1, *size), np.uint8)

    assert num_planes(levels.shape) == expected
    assert contact_sheet(levels).width == expected * 32
