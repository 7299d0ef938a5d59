"""Figures of merit: what a model makes held against real images, originals, labels or masks."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from rayology.errors import ConfigError, DataError
from rayology.image import VALUES_AT_ONCE
from rayology.metrics.distribution import HISTOGRAM, MMD, SPECTRUM
from rayology.metrics.images import Images, ImageSet, Reference
from rayology.metrics.metric import (
    AtMost,
    Comparison,
    Estimate,
    LabelMetric,
    MaskMetric,
    Metric,
    ModelMetric,
    PairMetric,
    SampleMetric,
)
from rayology.metrics.neighbours import COPIES, PRECISION, RECALL
from rayology.metrics.predictions import ACCURACY, DICE
from rayology.metrics.similarity import DIVERSITY, PSNR, SSIM, mean_over_pairs

__all__ = [
    "METRICS",
    "WORST",
    "AtMost",
    "Comparison",
    "Estimate",
    "LabelMetric",
    "MaskMetric",
    "Metric",
    "ModelMetric",
    "PairMetric",
    "Reference",
    "SampleMetric",
    "compare_labels",
    "compare_masks",
    "compare_reconstructions",
    "compare_samples",
    "figure_of",
    "loss_of",
]

BOUND = ModelMetric(
    name="bound",
    group="likelihood",
    direction="min",
    unit="bits per dimension",
    meaning="how many bits a value of an unseen image costs under the model, at most (the ELBO at beta = 1; less, of"
    " more particles)",
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (MMD, SPECTRUM, HISTOGRAM, PRECISION, RECALL, DIVERSITY, COPIES, PSNR, SSIM, BOUND, ACCURACY, DICE)
}
WORST = 1e30
"""Stands for a figure that is not finite, or that nobody could compute: Optuna takes none of those."""


def loss_of(name: str, figure: float | None) -> float:
    """Return a metric's figure as what a search lowers: here and in its inverse alone does a metric's direction count.

    A figure that a model does not have, or that is not finite, is the worst there is.
    """
    if figure is None or not math.isfinite(figure):
        return WORST
    return figure if METRICS[name].direction == "min" else -figure


def figure_of(name: str, loss: float) -> float:
    """Return what a search lowered as people read it: of a metric the inverse of ``loss_of``, of a cost itself."""
    return -loss if name in METRICS and METRICS[name].direction == "max" else loss


@torch.no_grad()
def compare_samples(
    samples: Images, reference: Reference, *, only: Collection[str] = (), resamples: int = 200
) -> dict[str, float]:
    """Return every figure of samples, or ``only`` some: ``mmd``, ``mmd/real``, ``mmd/low``, ``mmd/high`` and so on.

    ``resamples`` sets how often the bootstrap draws for the intervals; 0 leaves them out, which is cheapest.

    Raises:
        ConfigError: a name in ``only`` is not a metric of samples.
        DataError: there are fewer than 2 samples, they differ in size from the real images or are not finite.
    """
    chosen = _chosen(only)
    found, expected = tuple(samples.shape[1:]), tuple(reference.real.images.shape[1:])
    if found != expected:
        raise DataError(f"samples have channels and size {found}, real images {expected}; prepare both alike")
    _require_finite(samples, "samples")
    samples = samples.to(reference.real.images.device)
    generated = ImageSet(samples, name="samples", values_at_once=reference.values_at_once)

    figures: dict[str, float] = {}
    for metric in chosen:
        estimate = metric.measure(Comparison(generated, reference, resamples))
        if estimate is not None:
            figures |= estimate.figures(metric.name)
    return figures


@torch.no_grad()
def compare_reconstructions(
    reconstructions: Images, originals: Images, *, values_at_once: int = VALUES_AT_ONCE
) -> dict[str, float]:
    """Return every figure of reconstructions, both clipped to [-1, 1].

    Raises:
        DataError: reconstructions are not finite.
    """
    _require_finite(reconstructions, "reconstructions")
    pair = reconstructions.float().clip(-1.0, 1.0), originals.float().clip(-1.0, 1.0)
    metrics = [metric for metric in METRICS.values() if isinstance(metric, PairMetric)]
    return {metric.name: mean_over_pairs(metric.measure, *pair, values_at_once) for metric in metrics}


def compare_labels(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return every figure of named classes: logits as (batch, class) and the true labels.

    Raises:
        DataError: a logit is not finite.
    """
    _require_finite(logits, "class scores")
    return {
        metric.name: metric.measure(logits, labels) for metric in METRICS.values() if isinstance(metric, LabelMetric)
    }


def compare_masks(logits: Tensor, masks: Tensor) -> dict[str, float]:
    """Return every figure of found regions: logits as (batch, region, *space), background first, and the masks.

    Raises:
        DataError: a logit is not finite.
    """
    _require_finite(logits, "region scores")
    return {metric.name: metric.measure(logits, masks) for metric in METRICS.values() if isinstance(metric, MaskMetric)}


def _require_finite(images: Tensor, name: str) -> None:
    if not images.isfinite().all():
        raise DataError(f"{name} hold values that are not finite; the model has diverged, so train it anew")


def _chosen(only: Collection[str]) -> list[SampleMetric]:
    offered = {name: metric for name, metric in METRICS.items() if isinstance(metric, SampleMetric)}
    unknown = sorted(set(only) - set(offered))
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: no metric of samples; write one of {', '.join(offered)}")
    return [metric for name, metric in offered.items() if not only or name in only]
