"""Laws of bringing pixels to a size."""

import numpy as np
import pytest

from rayology.imaging import conform, conform_mask, conformed_spacing, contrast, foreground

SHAPES = [((384, 274), (64, 64)), ((10, 10), (64, 64)), ((97, 31), (16, 48)), ((64, 64), (64, 64)), ((1, 7), (16, 16))]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_a_constant_stays_constant(shape: tuple[int, int], size: tuple[int, int]) -> None:
    conformed = conform(np.full((2, *shape), 37.5, np.float32), size, fill=37.5)

    assert conformed.shape == (2, *size)
    np.testing.assert_allclose(conformed, 37.5, rtol=1e-6)


@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_the_sum_over_the_area_is_conserved(shape: tuple[int, int], size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((1, *shape), np.float32)
    area = max(shape[0] / size[0], shape[1] / size[1]) ** 2

    conformed = conform(pixels, size, fill=0.0)

    assert conformed.sum() * area == pytest.approx(pixels.sum(), rel=1e-5)


def test_the_mean_is_conserved_where_nothing_is_padded() -> None:
    pixels = np.random.default_rng(0).random((1, 100, 75), np.float32)

    assert conform(pixels, (64, 48), fill=-5.0).mean() == pytest.approx(pixels.mean(), rel=1e-5)


def test_a_whole_ratio_averages_blocks() -> None:
    pixels = np.arange(64, dtype=np.float32).reshape(1, 8, 8)

    blocks = pixels.reshape(1, 4, 2, 4, 2).mean((2, 4))

    np.testing.assert_allclose(conform(pixels, (4, 4), fill=0.0), blocks, rtol=1e-6)


def test_its_own_size_changes_nothing() -> None:
    pixels = np.random.default_rng(0).random((3, 16, 24), np.float32)

    np.testing.assert_array_equal(conform(pixels, (16, 24), fill=9.0), pixels)


def test_padding_lies_on_both_sides_alike() -> None:
    conformed = conform(np.ones((1, 16, 8), np.float32), (16, 16), fill=-1.0)

    np.testing.assert_array_equal(conformed[0, 0], [-1] * 4 + [1] * 8 + [-1] * 4)


def test_padding_joins_in_the_mean_of_a_pixel_that_it_covers_in_part() -> None:
    conformed = conform(np.ones((1, 4, 3), np.float32), (2, 2), fill=0.0)

    np.testing.assert_allclose(conformed[0], [[0.75, 0.75], [0.75, 0.75]])


def test_the_spacing_grows_as_the_pixels_do() -> None:
    assert conformed_spacing((0.5, 0.7), (384, 274), (64, 64)) == pytest.approx((3.0, 4.2))
    assert conformed_spacing((1.0, 1.0), (32, 32), (64, 64)) == (0.5, 0.5)


def test_foreground_holds_fluid_but_no_air() -> None:
    series = np.array([0.0] * 50 + [20.0] * 25 + [100.0] * 25)

    body = foreground(series, *contrast(series))

    np.testing.assert_array_equal(body, series > 0)


def test_a_series_without_contrast_has_no_foreground() -> None:
    series = np.full(100, 7.0)

    assert not foreground(series, *contrast(series)).any()


def test_regions_keep_their_numbers_at_the_same_size() -> None:
    mask = np.random.default_rng(0).integers(0, 5, (16, 16), np.uint8)

    np.testing.assert_array_equal(conform_mask(mask, (16, 16)), mask)


def test_a_pixel_lies_in_the_region_that_covers_most_where_regions_cover_half() -> None:
    mask = np.zeros((32, 16), np.uint8)
    mask[:2, :2] = [[3, 9], [9, 0]]
    mask[2:4, :2] = [[0, 0], [0, 9]]
    mask[4:6, :2] = [[9, 0], [3, 0]]

    smaller = conform_mask(mask, (16, 8))

    assert smaller[:3, 0].tolist() == [9, 0, 3]


def test_a_mask_of_nothing_stays_empty() -> None:
    assert not conform_mask(np.zeros((20, 30), np.uint8), (16, 16)).any()
