import math

import pytest
import torch
from torch import Tensor

from rayology.metrics import Reference, compare_samples, images
from rayology.metrics.fingerprints import fingerprints
from rayology.metrics.images import ImageSet


def _images(count: int, *size: int, seed: int) -> Tensor:
    return torch.rand(count, 1, *(size or (16, 16)), generator=torch.Generator().manual_seed(seed)) * 2 - 1


THREE = 3 * 16 * 16
"""The values of three small images."""


@pytest.fixture
def few_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare 8 images at most; a constant, so monkeypatch is the only way."""
    monkeypatch.setattr(images, "MOST_COMPARED", 8)


@pytest.mark.usefixtures("few_compared")
def test_no_more_images_are_copied_than_are_compared() -> None:
    reference = Reference(_images(20, seed=0), _images(30, seed=1))

    assert len(reference.train.images) == len(reference.train) == 8
    assert len(reference.real.images) == len(reference.real) == 8


@pytest.mark.usefixtures("few_compared")
def test_the_images_compared_are_those_at_their_places() -> None:
    given = _images(30, seed=1)

    kept = ImageSet(given, name="images")

    assert torch.equal(kept.images, given[kept.places])
    assert len(set(kept.places.tolist())) == 8


def test_a_reference_of_half_a_million_training_images_stays_small() -> None:
    """They lie in memory once, here as one image repeated without a copy: 512 MB as float32, were they copied."""
    train = _images(1, seed=1).expand(500_000, 1, 16, 16)

    reference = Reference(_images(4, seed=0), train)

    assert reference.train.images.shape == (2048, 1, 16, 16)
    assert reference._all_train.untyped_storage().nbytes() == 16 * 16 * 4


@pytest.mark.usefixtures("few_compared")
def test_a_copy_is_found_among_training_images_that_are_not_compared() -> None:
    train = _images(30, seed=1)
    reference = Reference(_images(8, seed=0), train, values_at_once=THREE)
    unseen = sorted(set(range(30)) - set(reference.train.places.tolist()))

    assert compare_samples(train[unseen[:8]], reference, only=["copies"])["copies"] == 1.0


@pytest.mark.usefixtures("few_compared")
def test_the_nearest_training_image_is_the_same_in_parts_as_in_one_go() -> None:
    real, train = _images(5, seed=0), _images(10, seed=1)
    reference = Reference(real, train, values_at_once=THREE)

    similarity = fingerprints(reference.real.images) @ fingerprints(train).T

    torch.testing.assert_close(reference.nearest_training(reference.real), 1.0 - similarity.amax(dim=1))


@pytest.mark.usefixtures("few_compared")
def test_training_images_of_one_patient_are_not_their_own_neighbours() -> None:
    train = _images(8, seed=1)
    reference = Reference(_images(4, seed=0), train, patient_safe=False, values_at_once=THREE)

    similarity = (fingerprints(train) @ fingerprints(train).T).fill_diagonal_(-1.0)

    expected = float((1.0 - similarity.amax(dim=1)).quantile(0.05))
    assert reference.copy_distance == pytest.approx(expected, abs=1e-5)
    assert expected > 0.1


@pytest.mark.parametrize("size", [(24, 24), (96, 80)])
def test_the_fingerprints_of_volumes_of_equal_slices_are_as_near_as_those_of_the_slices(size: tuple[int, int]) -> None:
    images = _images(4, *size, seed=0)
    volumes = images[:, :, None].expand(-1, -1, 16, -1, -1)

    of_images, of_volumes = fingerprints(images), fingerprints(volumes)

    torch.testing.assert_close(of_volumes @ of_volumes.T, of_images @ of_images.T)


@pytest.mark.usefixtures("few_compared")
@pytest.mark.parametrize("size", [(16, 16), (16, 16, 16)], ids=str)
@pytest.mark.parametrize("measured", ["spectra", "grey_shares", "fingerprints"])
def test_what_is_measured_in_parts_is_measured_of_each_image(measured: str, size: tuple[int, ...]) -> None:
    kept = ImageSet(_images(8, *size, seed=0), name="images", values_at_once=3 * math.prod(size))
    alone = ImageSet(kept.images[3:5], name="images")

    torch.testing.assert_close(getattr(alone, measured), getattr(kept, measured)[3 + alone.places])


@pytest.mark.usefixtures("few_compared")
@pytest.mark.parametrize(
    ("size", "expected"), [((16, 16), 3), ((16, 24), 2), ((16, 48), 1), ((16, 16, 16), 1)], ids=str
)
def test_larger_images_are_measured_fewer_at_once(size: tuple[int, ...], expected: int) -> None:
    parts: list[int] = []

    def measure(part: Tensor) -> Tensor:
        parts.append(len(part))
        return part.flatten(1)

    ImageSet(_images(5, *size, seed=0), name="images", values_at_once=THREE)._in_parts(measure)

    assert max(parts) == expected
    assert sum(parts) == 5
