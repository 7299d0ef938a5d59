"""Pictures for people show what they are given."""

import numpy as np
import pytest
import torch

from rayology.picture import MARGIN, contact_sheet, labelled_sheet, to_grey_levels


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


def test_a_labelled_sheet_has_a_row_for_each_label_and_shows_the_images_right_of_it() -> None:
    rows = {"first": torch.full((3, 1, 48, 48), 1.0), "second": torch.full((2, 1, 48, 48), -1.0)}

    sheet = np.asarray(labelled_sheet(rows))

    assert sheet.shape == (192, MARGIN + 192)
    assert (sheet[:96, MARGIN:] == 255).all()
    assert not sheet[96:, MARGIN:].any()
    assert sheet[:96, :MARGIN].any()
    assert sheet[96:, :MARGIN].any()
