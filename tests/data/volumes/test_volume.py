"""Laws of volumes: nothing that turns, crops or pads them moves a voxel in the patient."""

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from rayology.data.volumes.volume import Turn, Volume, crop_or_pad, cut, orient, turn, turn_to_lps

TURNS = [
    Turn((a, b, c), (f, g, h)) for a, b, c in permutations(range(3)) for f, g, h in product((False, True), repeat=3)
]


def some_volume(size: tuple[int, int, int] = (3, 4, 5), *, seed: int = 0) -> Volume:
    """Draw a volume on an oblique grid."""
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * (2.0, 0.5, 0.75)
    affine[:3, 3] = generator.normal(size=3) * 100
    return Volume(
        pixels=generator.random((2, *size), np.float32),
        valid=generator.random(size) > 0.3,
        affine=affine,
        mask=generator.integers(0, 4, size).astype(np.uint8),
    )


def by_place(volume: Volume) -> dict[tuple[float, ...], tuple[float, ...]]:
    """Return what each voxel holds by where it lies."""
    indices = np.moveaxis(np.indices(volume.size), 0, -1).reshape(-1, 3)
    assert volume.mask is not None
    held = np.stack([*volume.pixels.reshape(2, -1), volume.valid.ravel(), volume.mask.ravel()], axis=1)
    places = volume.positions_mm(indices).round(6) + 0.0
    return {tuple(place): tuple(values) for place, values in zip(places.tolist(), held.tolist(), strict=True)}


def affine_of(directions: list[list[float]]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions).T
    return affine


@pytest.mark.parametrize("by", TURNS)
def test_a_turn_moves_no_voxel(by: Turn) -> None:
    volume = some_volume()

    assert by_place(turn(volume, by)) == by_place(volume)


@pytest.mark.parametrize("by", TURNS)
def test_a_turn_and_its_inverse_change_nothing(by: Turn) -> None:
    volume = some_volume()

    back = turn(turn(volume, by), by.inverse)

    np.testing.assert_array_equal(back.pixels, volume.pixels)
    np.testing.assert_array_equal(back.valid, volume.valid)
    np.testing.assert_array_equal(back.mask, volume.mask)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-12)


@pytest.mark.parametrize("by", TURNS)
def test_an_oriented_volume_counts_to_left_back_and_head(by: Turn) -> None:
    volume = turn(Volume(*_upright()), by)

    oriented = orient(volume)

    np.testing.assert_allclose(oriented.affine, _upright()[2], atol=1e-12)
    np.testing.assert_array_equal(oriented.pixels, _upright()[0])


@pytest.mark.parametrize("seed", range(8))
def test_an_oblique_volume_is_oriented_as_far_as_may_be(seed: int) -> None:
    oriented = orient(some_volume(seed=seed))

    directions = oriented.affine[:3, :3] / oriented.spacing_mm
    towards = directions[[2, 1, 0], [0, 1, 2]]
    assert (towards > 0).all()
    assert turn_to_lps(oriented.affine) == Turn((0, 1, 2), (False, False, False))


def test_a_coronal_volume_is_turned_to_axial_slices() -> None:
    # slices count to the back, rows to the feet, columns to the left
    affine = affine_of([[0, 3, 0], [0, 0, -2], [1, 0, 0]])

    assert turn_to_lps(affine) == Turn((1, 0, 2), (True, False, False))


@pytest.mark.parametrize("by", TURNS)
def test_the_geometry_says_where_the_pixels_of_the_first_slice_lie(by: Turn) -> None:
    volume = turn(some_volume(), by)

    place = volume.geometry

    assert place.cosines is not None
    assert place.spacing_mm is not None
    assert place.corner_mm is not None
    assert place.normal is not None
    along_columns, along_rows = np.reshape(place.cosines, (2, 3))
    between_rows, between_columns = place.spacing_mm
    _, rows, columns = volume.size
    row, column = np.indices((rows, columns))[..., None]
    expected = place.corner_mm + row * between_rows * along_rows + column * between_columns * along_columns
    found = volume.positions_mm(np.stack([np.zeros_like(row), row, column], axis=-1)[..., 0, :])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(np.dot(place.normal, along_columns), 0, atol=1e-9)
    np.testing.assert_allclose(np.dot(place.normal, along_rows), 0, atol=1e-9)
    assert place.position_mm == pytest.approx(np.dot(place.normal, place.corner_mm))


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 4, 5), (6, 9, 8), (2, 9, 5)])
def test_crop_and_pad_move_no_voxel(size: tuple[int, int, int]) -> None:
    volume = some_volume()
    before = by_place(volume)

    after = crop_or_pad(volume, size, fill=-7.0)

    assert after.size == size
    common = by_place(after).keys() & before.keys()
    assert len(common) == np.prod(np.minimum(size, volume.size))
    assert all(by_place(after)[place] == before[place] for place in common)


def test_crop_then_pad_keeps_the_grid() -> None:
    volume = some_volume((7, 8, 9))

    back = crop_or_pad(crop_or_pad(volume, (4, 5, 4), fill=0), volume.size, fill=0)

    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-12)
    np.testing.assert_array_equal(back.pixels[back.pixels != 0], cut(volume, (1, 1, 2), (4, 5, 4)).pixels.ravel())


def test_what_is_padded_is_invalid_filled_and_of_no_class() -> None:
    volume = crop_or_pad(some_volume((2, 2, 2)), (4, 4, 4), fill=-1000.0)

    outside = np.ones((4, 4, 4), np.bool_)
    outside[1:3, 1:3, 1:3] = False
    assert volume.mask is not None
    assert not volume.valid[outside].any()
    assert not volume.mask[outside].any()
    np.testing.assert_array_equal(volume.pixels[:, outside], -1000)


def test_a_part_lies_where_it_lay() -> None:
    volume = some_volume()
    part = cut(volume, (1, 2, 3), (2, 2, 2))

    assert by_place(part).items() <= by_place(volume).items()
    assert len(by_place(part)) == 8


def _upright() -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    affine = affine_of([[0, 0, 3], [0, 0.5, 0], [0.25, 0, 0]])
    affine[:3, 3] = (-20, -30, 40)
    return np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4), np.ones((2, 3, 4), np.bool_), affine
