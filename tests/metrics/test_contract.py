"""What every metric keeps."""

import math

import pytest
import torch
from torch import Tensor

from rayology.errors import ConfigError, DataError
from rayology.metrics import (
    METRICS,
    Metric,
    PairMetric,
    Reference,
    SampleMetric,
    compare_reconstructions,
    compare_samples,
)
from rayology.models import CAPABILITIES

SAMPLE_METRICS = [metric for metric in METRICS.values() if isinstance(metric, SampleMetric)]
PAIR_METRICS = [metric for metric in METRICS.values() if isinstance(metric, PairMetric)]


def _images(count: int, *shape: int, seed: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_says_what_it_is(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    assert metric.name.isidentifier()
    assert metric.direction in {"min", "max"}
    assert metric.unit
    assert metric.meaning
    assert metric.needs in CAPABILITIES
    assert metric.objective == (not metric.blind_to)


@pytest.mark.parametrize("metric", SAMPLE_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 24), (1, 17, 23), (1, 16, 16, 16), (2, 16, 17, 24)], ids=str)
@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 7, 4), (9, 2, 30)], ids=str)
def test_small_sets_give_finite_figures(
    metric: SampleMetric, shape: tuple[int, ...], counts: tuple[int, int, int]
) -> None:
    samples, real, train = (_images(count, *shape, seed=seed) for seed, count in enumerate(counts))

    figures = compare_samples(samples, Reference(real, train), only=[metric.name])

    assert all(map(math.isfinite, figures.values())), figures


@pytest.mark.parametrize("metric", SAMPLE_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 16, 16, 16)], ids=str)
def test_images_without_content_give_finite_figures(metric: SampleMetric, shape: tuple[int, ...]) -> None:
    images, black = _images(4, *shape, seed=0), torch.full((4, *shape), -1.0)

    against_black = compare_samples(images, Reference(black, black), only=[metric.name])
    of_black = compare_samples(black, Reference(images, black), only=[metric.name])

    assert all(map(math.isfinite, [*against_black.values(), *of_black.values()]))


@pytest.mark.parametrize("metric", SAMPLE_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 16, 16, 16)], ids=str)
def test_equal_input_gives_equal_figures(metric: SampleMetric, shape: tuple[int, ...]) -> None:
    samples, real, train = (_images(12, *shape, seed=seed) for seed in range(3))

    first, second = (compare_samples(samples, Reference(real, train), only=[metric.name]) for _ in range(2))

    assert first == second


@pytest.mark.parametrize("metric", PAIR_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 24), (1, 16, 16, 16), (2, 16, 17, 24)], ids=str)
def test_worse_reconstructions_score_worse(metric: PairMetric, shape: tuple[int, ...]) -> None:
    originals, noise = _images(3, *shape, seed=0), _images(3, *shape, seed=1)

    scores = [
        compare_reconstructions(originals + weight * noise, originals)[metric.name] for weight in (0.0, 0.1, 0.3, 1.0)
    ]

    assert scores == sorted(set(scores), reverse=metric.direction == "max")
    assert all(map(math.isfinite, scores))


def test_an_objective_without_an_upper_end_says_what_chance_alone_is_worth() -> None:
    assert "upper end" in METRICS["mmd"].unit
    assert "chance" in METRICS["mmd"].meaning


def test_an_objective_offers_an_interval_and_a_real_figure() -> None:
    samples, real, train = (_images(12, 1, 16, 16, seed=seed) for seed in range(3))

    figures = compare_samples(samples, Reference(real, train), only=["mmd"])

    assert set(figures) == {"mmd", "mmd/real", "mmd/low", "mmd/high"}
    assert figures["mmd/low"] < figures["mmd"] < figures["mmd/high"]


def test_without_resamples_there_is_no_interval() -> None:
    samples, real, train = (_images(12, 1, 16, 16, seed=seed) for seed in range(3))

    figures = compare_samples(samples, Reference(real, train), resamples=0)

    assert not [name for name in figures if name.endswith(("/low", "/high"))]


def test_what_is_drawn_outside_the_range_counts_as_its_end() -> None:
    samples, real, train = (_images(12, 1, 16, 16, seed=seed) for seed in range(3))
    reference = Reference(real, train)

    assert compare_samples(samples * 3, reference) == compare_samples((samples * 3).clip(-1, 1), reference)


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    reference = Reference(_images(2, 1, 16, 16, seed=0), _images(2, 1, 16, 16, seed=1))

    with pytest.raises(ConfigError, match=r"fid: no metric of samples; write one of mmd, spectrum"):
        compare_samples(_images(2, 1, 16, 16, seed=2), reference, only=["fid"])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (_images(1, 1, 16, 16, seed=0), "samples: found 1"),
        (_images(4, 1, 24, 24, seed=0), "prepare both alike"),
        (_images(4, 3, 16, 16, seed=0), "prepare both alike"),
        (_images(4, 1, 16, 16, 16, seed=0), "prepare both alike"),
        (torch.full((4, 1, 16, 16), math.nan), "not finite"),
    ],
    ids=["one", "size", "channels", "volumes", "nan"],
)
def test_samples_that_cannot_be_compared_are_refused(samples: Tensor, message: str) -> None:
    reference = Reference(_images(4, 1, 16, 16, seed=0), _images(4, 1, 16, 16, seed=1))

    with pytest.raises(DataError, match=message):
        compare_samples(samples, reference)


@pytest.mark.parametrize("size", [(8, 32), (16, 8, 32)])
def test_images_under_16_pixels_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=f"measure {'x'.join(map(str, size))} pixels"):
        Reference(_images(4, 1, *size, seed=0), _images(4, 1, *size, seed=1))


def test_reconstructions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="reconstructions hold values that are not finite"):
        compare_reconstructions(torch.full((2, 1, 16, 16), math.inf), torch.zeros(2, 1, 16, 16))
