import math
from statistics import mean, stdev

import pytest
import torch
from torch import Tensor

from rayology.metrics import Reference, compare_samples
from rayology.metrics.bootstrap import drawn, once, std_error
from rayology.metrics.distribution import mmd_distance
from rayology.metrics.histogram import grey_shares, histogram_distance
from rayology.metrics.spectrum import radial_power, spectrum_distance

CPU = torch.device("cpu")


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _mmd(left: Tensor, right: Tensor) -> float:
    return float(mmd_distance(left, right)(once(len(left), CPU), once(len(right), CPU)))


def test_the_mmd_is_the_mean_over_pairs_of_different_images() -> None:
    left, right = _normal(4, 3, seed=0), _normal(4, 3, seed=1)

    def kernel(one: Tensor, other: Tensor) -> float:
        return float((one @ other / 3 + 1) ** 3)

    within = [
        mean(kernel(one, other) for i, one in enumerate(points) for j, other in enumerate(points) if i != j)
        for points in (left, right)
    ]
    between = mean(kernel(one, other) for one in left for other in right)

    assert _mmd(left, right) == pytest.approx(sum(within) - 2 * between)


def test_a_resample_counts_as_its_images_written_out() -> None:
    left, right = _normal(6, 3, seed=0), _normal(6, 3, seed=1)
    counts = torch.tensor([[0.0, 2.0, 1.0, 1.0, 0.0, 2.0]], dtype=torch.float64)
    written_out = left.repeat_interleave(counts[0].long(), dim=0)
    doubles = torch.cdist(written_out, written_out) < 1e-9
    kernel = (written_out @ written_out.T / 3 + 1) ** 3

    found = mmd_distance(left, right)(counts, once(6, CPU))

    cross = (written_out @ right.T / 3 + 1) ** 3
    within = (right @ right.T / 3 + 1) ** 3
    expected = kernel[~doubles].mean() + (within.sum() - within.trace()) / 30 - 2 * cross.mean()
    assert float(found) == pytest.approx(float(expected))


def test_the_mmd_between_random_halves_of_one_set_is_zero_on_average(chest_xrays: tuple[Tensor, Tensor]) -> None:
    images = torch.cat(chest_xrays)[:256]
    reference = Reference(images, images)
    features = reference.scale(reference.real.features)
    orders = [torch.randperm(256, generator=torch.Generator().manual_seed(seed)) for seed in range(50)]

    halves = [_mmd(features[order[:128]], features[order[128:]]) for order in orders]

    assert abs(mean(halves)) < 3 * stdev(halves) / math.sqrt(50)


def test_the_bootstrap_knows_how_far_the_mmd_scatters() -> None:
    draws = [_normal(64, 4, seed=seed) for seed in range(60)]

    scatter = stdev(_mmd(left, right + 0.5) for left, right in zip(draws[::2], draws[1::2], strict=True))
    estimate = std_error(mmd_distance(draws[0], draws[1] + 0.5), 64, resamples=400, device=CPU)

    assert estimate == pytest.approx(scatter, rel=0.5)


def test_a_bootstrap_draw_keeps_the_number_of_images() -> None:
    counts = drawn(10, 5, torch.Generator().manual_seed(0))

    assert counts.sum(dim=1).tolist() == [10.0] * 5


def test_brighter_by_a_tenth_is_a_histogram_distance_of_a_tenth() -> None:
    images = torch.rand(5, 2, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.5

    distance = histogram_distance(grey_shares(images), grey_shares(images + 0.1))

    assert float(distance(once(5, CPU), once(5, CPU))) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("size", [(16, 24), (16, 16, 24)])
def test_white_noise_has_its_variance_at_every_frequency(size: tuple[int, ...]) -> None:
    noise = _normal(200, 1, *size, seed=0)

    assert radial_power(noise).mean(dim=0).sub(1).abs().max() < 0.1


@pytest.mark.parametrize(("num_axes", "axis"), [(2, 2), (2, 3), (3, 2), (3, 3), (3, 4)])
def test_a_wave_lies_in_the_ring_of_its_frequency_along_every_axis(num_axes: int, axis: int) -> None:
    along = torch.cos(2 * torch.pi * 3 * torch.arange(32) / 32)
    wave = along.expand(1, 1, *[32] * num_axes).transpose(axis, -1)

    assert radial_power(wave)[0, 0].argmax() == 2


def test_twice_the_amplitude_is_six_decibels_of_spectrum() -> None:
    images = _normal(5, 1, 16, 16, seed=0)

    distance = spectrum_distance(radial_power(images), radial_power(2 * images))

    assert float(distance(once(5, CPU), once(5, CPU))) == pytest.approx(20 * math.log10(2), abs=1e-3)


def test_the_order_of_the_larger_set_and_its_size_do_not_bias_the_figures() -> None:
    images = _normal(300, 1, 16, 16, seed=0).float() / 4
    sorted_by_brightness = images[images.mean(dim=(1, 2, 3)).argsort()]

    figures = compare_samples(images[:40], Reference(sorted_by_brightness, images), only=["mmd"])

    assert figures["mmd/low"] < 0 < figures["mmd/high"]
