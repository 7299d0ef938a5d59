"""Patches cut from a volume: nothing is left out, and each keeps its place."""

import numpy as np
import pytest

from rayology.data.volumes.volume import Volume, patches, starts


def numbered(size: tuple[int, int, int]) -> Volume:
    """Return a volume whose voxels hold their own number, on a grid of millimetres."""
    pixels = np.arange(np.prod(size), dtype=np.float32).reshape(1, *size)
    return Volume(pixels, np.ones(size, np.bool_), np.eye(4), pixels[0].astype(np.uint8))


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 4, 5), (1, 3, 4), (4, 4, 4)])
@pytest.mark.parametrize("overlap", [0, 1])
def test_patches_cover_every_voxel(size: tuple[int, int, int], overlap: int) -> None:
    volume = numbered((5, 7, 9))

    cut = list(patches(volume, size, overlap=overlap, fill=-1))

    assert {each.size for each in cut} == {size}
    assert set(np.concatenate([each.pixels.ravel() for each in cut])) == set(range(5 * 7 * 9))


def test_a_volume_smaller_than_a_patch_is_padded() -> None:
    (patch,) = patches(numbered((2, 3, 4)), (4, 4, 4), fill=-5)

    assert patch.size == (4, 4, 4)
    assert patch.valid.sum() == 2 * 3 * 4
    assert (patch.pixels[0][~patch.valid] == -5).all()


def test_patches_lie_evenly_and_overlap_where_they_must() -> None:
    assert starts(10, 4, overlap=0) == [0, 3, 6]
    assert starts(12, 4, overlap=0) == [0, 4, 8]
    assert starts(4, 4, overlap=0) == [0]
    assert starts(8, 4, overlap=2) == [0, 2, 4]
