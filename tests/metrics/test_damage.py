"""An objective must worsen with every kind of damage; what does not is no objective."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rayology.metrics import METRICS, Reference, SampleMetric, compare_samples
from rayology.metrics.fingerprints import _blurred

PER_SET = 128

OBJECTIVES = [name for name, metric in METRICS.items() if isinstance(metric, SampleMetric) and metric.objective]

Classes = tuple[Tensor, Tensor]


def _samples(classes: Classes) -> Tensor:
    return torch.cat([images[1 : 3 * PER_SET : 3] for images in classes])


def _blur(classes: Classes) -> list[Tensor]:
    return [_blurred(_samples(classes), std) for std in (0.4, 0.6, 0.9)]


def _noise(classes: Classes) -> list[Tensor]:
    samples = _samples(classes)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))
    return [samples + std * noise for std in (0.03, 0.06, 0.12)]


def _lost_class(classes: Classes) -> list[Tensor]:
    kept, losing = (images[1 : 3 * PER_SET : 3] for images in classes)
    more = classes[0][2 : 3 * PER_SET : 3]
    return [torch.cat([kept, losing[lost:], more[:lost]]) for lost in (PER_SET // 3, PER_SET * 2 // 3, PER_SET)]


@pytest.fixture(scope="module", params=["head_and_chest", "chest_xrays", "phantom", "hippocampi"])
def classes(request: pytest.FixtureRequest) -> Classes:
    images: Classes = request.getfixturevalue(request.param)
    return images


@pytest.fixture(scope="module")
def reference(classes: Classes) -> Reference:
    real, train = (torch.cat([images[start : 3 * PER_SET : 3] for images in classes]) for start in (0, 2))
    return Reference(real, train)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_blur, _noise, _lost_class])
def test_every_objective_worsens_strictly_with_the_damage(
    damage: Callable[[Classes], list[Tensor]], classes: Classes, reference: Reference
) -> None:
    damaged = [_samples(classes), *damage(classes)]

    figures = [compare_samples(samples, reference, only=OBJECTIVES, resamples=0) for samples in damaged]

    for name in OBJECTIVES:
        sign = 1 if METRICS[name].direction == "min" else -1
        values = [sign * figure[name] for figure in figures]
        assert values == sorted(set(values)), name


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_blur, _noise, _lost_class])
def test_strong_damage_lies_outside_the_interval_of_real_images(
    damage: Callable[[Classes], list[Tensor]], classes: Classes, reference: Reference
) -> None:
    undamaged = compare_samples(_samples(classes), reference, only=["mmd"])
    damaged = compare_samples(damage(classes)[-1], reference, only=["mmd"])

    assert undamaged["mmd/low"] < 0 < undamaged["mmd/high"]
    assert damaged["mmd/low"] > max(undamaged["mmd/high"], damaged["mmd/real"])


@pytest.mark.slow
def test_even_models_that_draw_no_image_at_all_are_ranked(classes: Classes, reference: Reference) -> None:
    samples = _samples(classes)
    noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))
    ever_worse = {
        "noise": [samples + std * noise for std in (0.25, 0.5, 1.0, 2.0, 4.0)],
        "dark": [samples + weight * (-1.0 - samples) for weight in (0.25, 0.5, 0.75, 1.0)],
    }

    for kind, damaged in ever_worse.items():
        found = [compare_samples(images, reference, only=["mmd"], resamples=0)["mmd"] for images in damaged]
        assert all(map(math.isfinite, found)), kind
        assert found == sorted(set(found)), kind


@pytest.mark.slow
def test_spectrum_and_histogram_do_not_see_where_things_lie(classes: Classes, reference: Reference) -> None:
    upright = _samples(classes)

    before = compare_samples(upright, reference, only=["mmd", "spectrum", "histogram"], resamples=0)
    after = compare_samples(upright.flip(2), reference, only=["mmd", "spectrum", "histogram"], resamples=0)

    assert after["spectrum"] == pytest.approx(before["spectrum"], abs=1e-3)
    assert after["histogram"] == pytest.approx(before["histogram"], abs=1e-6)


def test_the_histogram_hardly_sees_slight_noise(chest_xrays: Classes) -> None:
    real, train = (torch.cat([images[start : 3 * PER_SET : 3] for images in chest_xrays]) for start in (0, 2))
    reference = Reference(real, train)

    undamaged, noisy = (
        compare_samples(samples, reference, only=["histogram"], resamples=0)
        for samples in (_samples(chest_xrays), _noise(chest_xrays)[0])
    )

    assert noisy["histogram"] < 1.1 * undamaged["histogram"]
    assert not METRICS["histogram"].objective


def test_the_spectrum_takes_noise_for_lost_detail(chest_xrays: Classes) -> None:
    real, train = (torch.cat([images[start : 3 * PER_SET : 3] for images in chest_xrays]) for start in (0, 2))
    reference = Reference(real, train)
    blurry = _blurred(_samples(chest_xrays), 0.9)
    noise = torch.randn(blurry.shape, generator=torch.Generator().manual_seed(0))

    of_blurry, of_both = (
        compare_samples(samples, reference, only=["spectrum"], resamples=0)
        for samples in (blurry, blurry + 0.03 * noise)
    )

    assert of_both["spectrum"] < of_blurry["spectrum"]
    assert not METRICS["spectrum"].objective
