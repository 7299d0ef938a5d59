"""Laws of resampling: ramps, means and places are kept, and the own spacing changes nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.data.peaks import peak_bytes

from rayology.data.volumes.resampling import resample, resampled_size
from rayology.data.volumes.volume import Volume

SPACING = (2.0, 0.5, 0.75)
SPACINGS = [
    (1.0, 0.25, 0.5),  # all smaller
    (4.0, 1.0, 1.5),  # all twice as large
    (3.0, 0.8, 1.0),  # all larger, by no whole number
    (1.1, 0.5, 2.0),  # smaller, equal and larger
]


def volume_of(pixels: NDArray[np.float32], *, seed: int = 0) -> Volume:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * SPACING
    affine[:3, 3] = (10, -20, 30)
    return Volume(pixels, np.ones(pixels.shape[1:], np.bool_), affine)


def noise(size: tuple[int, int, int] = (12, 20, 16), channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((channels, *size), np.float32)


def places(volume: Volume) -> NDArray[np.float64]:
    return volume.positions_mm(np.moveaxis(np.indices(volume.size), 0, -1))


def middle(volume: Volume) -> NDArray[np.float64]:
    return volume.positions_mm((np.array(volume.size) - 1) / 2)


def ramp(positions_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(positions_mm @ np.array([3.0, -2.0, 1.0]) + 40)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_a_ramp_in_the_patient_stays_what_it_is_inside(spacing_mm: tuple[float, float, float]) -> None:
    volume = volume_of(noise())
    volume = volume_of(ramp(places(volume))[None].astype(np.float32))

    resampled = resample(volume, spacing_mm)

    steps = np.divide(spacing_mm, SPACING)
    edge = [int(np.ceil(max(1.0, 2.0 / step))) for step in steps]  # voxels that touch the outermost old ones
    inside = tuple(slice(width, length - width) for width, length in zip(edge, resampled.size, strict=True))
    assert resampled.pixels[0][inside].size
    np.testing.assert_allclose(resampled.pixels[0][inside], ramp(places(resampled))[inside], rtol=1e-5)


def test_its_own_spacing_changes_nothing() -> None:
    volume = volume_of(noise(channels=2))

    resampled = resample(volume, SPACING)

    np.testing.assert_array_equal(resampled.pixels, volume.pixels)
    np.testing.assert_array_equal(resampled.affine, volume.affine)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_a_volume_has_the_spacing_asked_for_and_the_same_middle(spacing_mm: tuple[float, float, float]) -> None:
    volume = volume_of(noise())

    resampled = resample(volume, spacing_mm)

    assert resampled.spacing_mm == pytest.approx(spacing_mm)
    np.testing.assert_allclose(middle(resampled), middle(volume), atol=1e-9)
    extent = np.array(volume.size) * SPACING
    assert (np.abs(np.array(resampled.size) * spacing_mm - extent) <= np.array(spacing_mm) / 2 + 1e-9).all()
    assert resampled_size(volume, spacing_mm) == resampled.size


# spacings that divide the extent of 24 x 10 x 12 mm
@pytest.mark.parametrize("spacing_mm", [(4.0, 1.0, 1.5), (3.0, 2.5, 2.0), (4.8, 0.625, 0.8), (24.0, 10.0, 12.0)])
def test_averages_keep_the_mean(spacing_mm: tuple[float, float, float]) -> None:
    pixels = noise() * 1000

    resampled = resample(volume_of(pixels), spacing_mm)

    assert resampled.pixels.mean(dtype=np.float64) == pytest.approx(pixels.mean(dtype=np.float64), rel=1e-6)


def test_twice_the_spacing_averages_blocks() -> None:
    pixels = noise()

    resampled = resample(volume_of(pixels), (4.0, 1.0, 1.5))

    blocks = pixels.reshape(1, 6, 2, 10, 2, 8, 2).mean((2, 4, 6))
    np.testing.assert_allclose(resampled.pixels, blocks, rtol=1e-5)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_no_value_leaves_the_range_of_the_old(spacing_mm: tuple[float, float, float]) -> None:
    pixels = (noise() > 0.5).astype(np.float32)

    resampled = resample(volume_of(pixels), spacing_mm)

    assert resampled.pixels.min() >= -1e-6
    assert resampled.pixels.max() <= 1 + 1e-6


def test_stripes_finer_than_a_voxel_turn_grey_not_into_other_stripes() -> None:
    stripes = np.zeros((1, 12, 20, 16), np.float32)
    stripes[:, :, ::2] = 1

    resampled = resample(volume_of(stripes), (2.0, 2.0, 0.75))

    np.testing.assert_allclose(resampled.pixels, 0.5, atol=1e-6)


def test_channels_are_resampled_each_for_itself() -> None:
    pixels = noise(channels=3)

    together = resample(volume_of(pixels), (3.0, 0.4, 1.0)).pixels

    alone = [resample(volume_of(channel[None]), (3.0, 0.4, 1.0)).pixels[0] for channel in pixels]
    np.testing.assert_array_equal(together, alone)


def test_a_voxel_above_an_invalid_one_is_invalid() -> None:
    volume = volume_of(noise())
    volume.valid[5, 10, 8] = False

    larger = resample(volume, (4.0, 1.0, 1.5))
    smaller = resample(volume, (1.0, 0.25, 0.375))

    assert np.argwhere(~larger.valid).tolist() == [[2, 5, 4]]
    touched = np.linalg.norm((places(smaller) - volume.positions_mm(np.array([5, 10, 8]))) @ _turn(volume), np.inf, -1)
    np.testing.assert_array_equal(smaller.valid, touched >= 1)


def test_a_mask_takes_the_nearest_class() -> None:
    volume = volume_of(noise())
    classes = np.random.default_rng(2).integers(0, 5, volume.size).astype(np.uint8)
    volume = Volume(volume.pixels, volume.valid, volume.affine, classes)

    finer = resample(volume, tuple(length / 3 for length in SPACING))  # type: ignore[arg-type] # three of them
    coarser = resample(volume, tuple(length * 3 for length in SPACING))  # type: ignore[arg-type] # three of them

    np.testing.assert_array_equal(finer.mask, classes.repeat(3, 0).repeat(3, 1).repeat(3, 2))
    assert coarser.mask is not None
    assert set(np.unique(coarser.mask)) <= set(range(5))
    assert coarser.mask.shape == coarser.size


def test_a_single_slice_can_be_resampled() -> None:
    volume = volume_of(noise((1, 8, 8)))

    resampled = resample(volume, (0.5, 0.5, 0.75))

    np.testing.assert_array_equal(resampled.pixels, volume.pixels.repeat(4, 1))


def test_nothing_in_between_is_much_larger_than_the_volume_and_the_result() -> None:
    volume = volume_of(noise((4, 160, 160)))
    spacing_mm = (0.2, 2.0, 3.0)  # ten times the slices; a sixteenth of the pixels in each

    peak = peak_bytes(lambda: resample(volume, spacing_mm))

    assert peak < 3 * volume.pixels.nbytes


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.5), (4.0, 0.25, 1.5), (1.0, 0.25, 3.0)])
def test_whole_steps_give_the_same_whichever_axis_comes_first(spacing_mm: tuple[float, float, float]) -> None:
    volume = volume_of(noise())

    together = resample(volume, spacing_mm)

    one_by_one = volume
    for axis in range(3):
        slices_mm, rows_mm, columns_mm = (*spacing_mm[: axis + 1], *one_by_one.spacing_mm[axis + 1 :])
        one_by_one = resample(one_by_one, (slices_mm, rows_mm, columns_mm))
    np.testing.assert_allclose(together.pixels, one_by_one.pixels, rtol=1e-5)
    np.testing.assert_allclose(together.affine, one_by_one.affine, atol=1e-9)


def _turn(volume: Volume) -> NDArray[np.float64]:
    """Return what takes millimetres in the patient to old voxels."""
    return np.asarray(np.linalg.inv(volume.affine[:3, :3]).T, np.float64)
