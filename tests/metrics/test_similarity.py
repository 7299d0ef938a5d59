import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rayology.metrics import Reference, compare_reconstructions, compare_samples


def _images(count: int, *size: int, seed: int) -> Tensor:
    return torch.rand(count, 1, *(size or (16, 16)), generator=torch.Generator().manual_seed(seed)) - 0.5


@pytest.mark.parametrize("size", [(16, 16), (16, 16, 16)])
def test_an_error_of_a_tenth_is_26_decibels(size: tuple[int, ...]) -> None:
    originals = _images(3, *size, seed=0)

    assert compare_reconstructions(originals + 0.1, originals)["psnr"] == pytest.approx(20 * math.log10(20), abs=1e-3)


def test_equal_images_score_100_decibels_and_a_similarity_of_1() -> None:
    figures = compare_reconstructions(_images(3, seed=0), _images(3, seed=0))

    assert figures == pytest.approx({"psnr": 100.0, "ssim": 1.0})


def test_the_similarity_of_an_image_is_the_mean_of_its_channels() -> None:
    originals, images = (torch.rand(2, 3, 16, 18, generator=torch.Generator().manual_seed(seed)) for seed in range(2))

    whole = compare_reconstructions(images, originals)["ssim"]
    each = [compare_reconstructions(images[:, [at]], originals[:, [at]])["ssim"] for at in range(3)]

    assert whole == pytest.approx(sum(each) / 3, rel=1e-5)


def test_structural_similarity_is_the_mean_of_its_formula_over_all_windows() -> None:
    original, image = (_images(1, 16, 18, seed=seed)[0, 0].double().numpy() for seed in range(2))
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(weights, weights) / np.outer(weights, weights).sum()

    found = []
    padded = [
        np.lib.stride_tricks.sliding_window_view(np.pad(each, 5, "reflect"), (11, 11)) for each in (original, image)
    ]
    for row, column in np.ndindex(original.shape):
        x, y = (windows[row, column] for windows in padded)
        x_mean, y_mean = (window * x).sum(), (window * y).sum()
        x_variance, y_variance = (window * (x - x_mean) ** 2).sum(), (window * (y - y_mean) ** 2).sum()
        covariance = (window * (x - x_mean) * (y - y_mean)).sum()
        means = (2 * x_mean * y_mean + 0.02**2) / (x_mean**2 + y_mean**2 + 0.02**2)
        found.append(means * (2 * covariance + 0.06**2) / (x_variance + y_variance + 0.06**2))

    figures = compare_reconstructions(*(torch.tensor(each)[None, None] for each in (image, original)))
    assert figures["ssim"] == pytest.approx(np.mean(found), abs=1e-5)


def test_a_figure_of_many_pairs_is_the_mean_of_its_parts() -> None:
    originals, reconstructions = _images(50, seed=0), _images(50, seed=1)

    whole = compare_reconstructions(reconstructions, originals)
    halves = [compare_reconstructions(reconstructions[half::2], originals[half::2]) for half in range(2)]

    for name, value in whole.items():
        assert value == pytest.approx(sum(half[name] for half in halves) / 2, rel=1e-4)


def test_volumes_of_equal_slices_are_as_alike_as_their_slices() -> None:
    images = [_images(5, 20, 24, seed=seed) for seed in range(2)]
    volumes = [each[:, :, None].expand(-1, -1, 16, -1, -1) for each in images]

    assert compare_reconstructions(*volumes) == pytest.approx(compare_reconstructions(*images), rel=1e-4)


def test_samples_that_repeat_themselves_are_less_diverse_than_real_images() -> None:
    reference = Reference(_images(20, seed=0), _images(20, seed=1))

    figures = compare_samples(_images(1, seed=2).expand(20, -1, -1, -1), reference, only=["diversity"])

    assert figures["diversity"] == pytest.approx(1.0)
    assert figures["diversity/real"] < 0.2
