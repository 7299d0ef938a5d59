"""What counts as the same image, and that all of it is found."""

import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rayology.data import duplicates as duplicates_module
from rayology.data.duplicates import duplicates, joined
from rayology.imaging import conform

Images = NDArray[np.float32]


def pairs_of(images: Images) -> Iterator[tuple[int, int]]:
    return duplicates(lambda numbers: images[numbers], len(images))


def found(images: Images) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in pairs_of(images)}


def noise(count: int) -> Images:
    return np.random.default_rng(0).normal(0, 1, (count, 1, 16, 16)).astype(np.float32)


def test_images_without_anything_in_common_are_no_duplicates() -> None:
    assert found(noise(200)) == set()


def test_all_copies_of_an_image_are_connected_however_many() -> None:
    images = noise(100)
    images[10:90] = images[5]

    groups = joined([str(number) for number in range(100)], pairs_of(images))

    assert len(set(groups)) == 20
    assert len({groups[number] for number in (5, *range(10, 90))}) == 1


@pytest.mark.parametrize("change", ["brighter", "noisier", "coloured"])
def test_a_changed_copy_is_found(change: str) -> None:
    images = noise(50).repeat(3, axis=1)
    copy = {
        "brighter": images[7] * 1.5 + 3,
        "noisier": images[7] + 0.05 * noise(51)[50],
        "coloured": images[7] * np.array([0.8, 1.0, 1.2], np.float32)[:, None, None],
    }[change]

    assert found(np.concatenate([images, copy[None]])) == {(7, 50)}


def test_images_without_contrast_are_no_duplicates_of_any_other() -> None:
    images = np.zeros((4, 1, 16, 16), np.float32)
    images[2:] = [[[[1.0]]], [[[2.0]]]]

    assert found(images) == found(images[:1]) == found(images[:0]) == set()


def test_the_same_is_found_however_few_lie_in_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).normal(0, 1, (60, 3, 16, 16)).astype(np.float32)
    images[20:40] = images[:20] + 0.01 * images[40:60]
    images[50] = images[49]
    held: list[int] = []

    def noted(numbers: NDArray[np.int64]) -> Images:
        held.append(len(numbers))
        return images[numbers]

    at_once = list(duplicates(noted, len(images)))
    monkeypatch.setattr(duplicates_module, "BYTES_AT_ONCE", 4 * images[0].nbytes)  # a quarter of a gigabyte is more
    most_held = max(held)
    held.clear()
    in_parts = list(duplicates(noted, len(images)))

    assert in_parts == at_once
    assert len(in_parts) == 21
    assert most_held == 59
    assert max(held) == 4


def test_patients_are_joined_through_others_under_the_first_name() -> None:
    patients = ["d", "c", "b", "a", "d", "e"]

    assert joined(patients, [(0, 1), (1, 2)]) == ["b", "b", "b", "a", "b", "e"]
    assert joined(patients, []) == patients


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> Images:
    """Every sixth of the medical pictures."""
    with zipfile.ZipFile(shared_data / "mednist" / "mednist_18000.zip") as opened:
        names = sorted(name for name in opened.namelist() if name.endswith(".jpeg"))[::6]
        opened_pictures = (Image.open(io.BytesIO(opened.read(name))) for name in names)
        return np.stack([np.asarray(picture, np.float32)[None] for picture in opened_pictures])


@pytest.mark.slow
def test_as_many_are_found_as_by_comparing_all_with_all(pictures: Images) -> None:
    small = conform(pictures[:, 0], (32, 32), fill=0).reshape(len(pictures), -1).astype(np.float64)
    small -= small.mean(1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    expected = set(zip(*(places.tolist() for places in np.nonzero(np.triu(small @ small.T, 1) >= 0.99)), strict=True))

    assert found(pictures) == expected
    assert len(expected) > 10


@pytest.mark.slow
def test_no_group_grows_beyond_a_scan(pictures: Images) -> None:
    groups = joined([f"{number:05}" for number in range(len(pictures))], pairs_of(pictures))

    assert max(len(list(members)) for _, members in itertools.groupby(sorted(groups))) < 15
