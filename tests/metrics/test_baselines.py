import pytest
import torch
from torch import Tensor

from rayology.metrics import baselines
from rayology.metrics.baselines import nearest_images, pca_reconstructions


def _images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 2, 4, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _error(train: Tensor, images: Tensor, components: int) -> float:
    return float((pca_reconstructions(train, images, components=components) - images).square().mean())


def test_all_components_give_the_images_back() -> None:
    few, many = _images(10, seed=0), _images(100, seed=1)

    torch.testing.assert_close(pca_reconstructions(few, few, components=10), few, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(pca_reconstructions(many, few, components=48), few, atol=1e-5, rtol=0.0)


def test_the_error_falls_with_every_component() -> None:
    train, unseen = _images(100, seed=0), _images(20, seed=1)

    errors = [_error(train, unseen, components) for components in (0, 1, 2, 8, 24, 47)]

    assert errors == sorted(set(errors), reverse=True)


def test_no_component_gives_the_mean() -> None:
    train, unseen = _images(9, seed=0), _images(2, seed=1)

    expected = train.mean(dim=0).expand_as(unseen)
    torch.testing.assert_close(pca_reconstructions(train, unseen, components=0), expected)


def test_no_two_directions_do_better_than_the_first_two() -> None:
    train = _images(60, seed=0)
    others, _ = torch.linalg.qr(torch.randn(48, 2, generator=torch.Generator().manual_seed(2)))
    centred = (train - train.mean(dim=0)).flatten(1)

    by_others = float((centred @ others @ others.T - centred).square().mean())

    assert _error(train, train, 2) < by_others


def test_of_many_training_images_a_fair_part_is_decomposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_DECOMPOSED", 10)  # a constant; 4,097 images would take long
    train, unseen = _images(25, seed=0), _images(3, seed=1)

    found = pca_reconstructions(train, unseen, components=4)

    torch.testing.assert_close(found, pca_reconstructions(train[::3], unseen, components=4))


def test_the_nearest_image_is_a_training_image_and_none_is_nearer() -> None:
    train, unseen = _images(30, seed=0), _images(9, seed=1)

    nearest = nearest_images(train, unseen, values_at_once=4 * train[0].numel())  # so that both sets fall into parts

    distances = (unseen[:, None] - train).square().sum(dim=(2, 3, 4))
    assert torch.equal(nearest, train[distances.argmin(dim=1)])


def test_a_training_image_is_nearest_to_itself() -> None:
    train = _images(30, seed=0)

    assert torch.equal(nearest_images(train, train[5:9]), train[5:9])


def test_a_volume_counts_as_its_voxels_in_any_arrangement() -> None:
    train, unseen = _images(30, seed=0), _images(9, seed=1)
    as_volumes = (30, 2, 2, 2, 6)

    decomposed = pca_reconstructions(train.view(as_volumes), unseen.view(9, *as_volumes[1:]), components=4)
    nearest = nearest_images(train.view(as_volumes), unseen.view(9, *as_volumes[1:]))

    assert torch.equal(decomposed.view_as(unseen), pca_reconstructions(train, unseen, components=4))
    assert torch.equal(nearest.view_as(unseen), nearest_images(train, unseen))


def test_no_image_has_no_nearest_one() -> None:
    assert nearest_images(_images(3, seed=0), _images(3, seed=1)[:0]).shape == (0, 2, 4, 6)
