"""The benchmark of stacked MNIST counts its modes right."""

import math
from pathlib import Path

import pytest
import torch
from stacked_mnist import NUM_MODES, NUM_SAMPLES, StackedMnistConfig, coverage, main, stacked

from rayology.errors import ConfigError


def test_a_perfect_sampler_covers_every_mode_and_has_the_divergence_of_chance() -> None:
    modes = torch.randint(NUM_MODES, (NUM_SAMPLES,), generator=torch.Generator().manual_seed(0))

    assert coverage(modes) == {"modes": NUM_MODES, "kl": pytest.approx((NUM_MODES - 1) / (2 * NUM_SAMPLES), rel=0.1)}


def test_a_collapsed_sampler_has_one_mode_and_the_largest_divergence() -> None:
    assert coverage(torch.full((100,), 7)) == {"modes": 1, "kl": pytest.approx(math.log(NUM_MODES))}


def test_each_channel_is_a_digit_of_its_own() -> None:
    digits = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 28, 28)

    images = stacked(digits, 500, torch.Generator().manual_seed(0))

    assert images.shape == (500, 3, 28, 28)
    assert images.amin((2, 3)).equal(images.amax((2, 3)))
    assert len(images[:, :, 0, 0].unique(dim=0)) > 300


def test_a_folder_without_mnist_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data: .*mnist: no such folder; write the folder with mnist/, the four"):
        main(StackedMnistConfig(data=tmp_path, folder=tmp_path))
