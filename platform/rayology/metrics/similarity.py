"""How alike two images are: reconstructions and originals, or samples among themselves."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from jaxtyping import Float
from torch import Tensor

from rayology.image import VALUES_AT_ONCE, num_at_once
from rayology.metrics.blur import along_each_axis, gaussian
from rayology.metrics.images import Images, ImageSet
from rayology.metrics.metric import Comparison, Estimate, PairMetric, SampleMetric

__all__ = ["DIVERSITY", "PSNR", "SSIM", "mean_over_pairs"]

RANGE = 2.0
WINDOW_STD, WINDOW_RADIUS = 1.5, 5  # Wang et al. 2004: an 11x11 Gaussian window
STABLE_MEAN, STABLE_SPREAD = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2  # Wang et al. 2004, C1 and C2
MOST_PAIRS = 128
COPIES = 8  # what the structural similarity of a pair holds of each


def mean_over_pairs(
    measure: Callable[[Images, Images], Float[Tensor, " image"]],
    images: Images,
    others: Images,
    values_at_once: int = VALUES_AT_ONCE,
) -> float:
    """Return the mean of what is measured of each pair of images, in parts of one size."""
    num_parts = math.ceil(len(images) / num_at_once(values_at_once, images.shape[1:], copies=COPIES))
    parts = zip(images.chunk(num_parts), others.chunk(num_parts), strict=True)
    return float(torch.cat([measure(*part) for part in parts]).mean())


def psnr(images: Images, originals: Images) -> Float[Tensor, " image"]:
    """Return 10 log10(range² / mean squared error) of each image; equal images count as 100 dB."""
    error = (images - originals).square().mean(dim=tuple(range(1, images.ndim))).clamp(min=RANGE**2 * 1e-10)
    return 10 * torch.log10(RANGE**2 / error)


def ssim(images: Images, originals: Images) -> Float[Tensor, " image"]:
    """Return the structural similarity of each image (Wang et al. 2004, eq. 13); edges are mirrored."""
    margins = [WINDOW_RADIUS] * 2 * (images.ndim - 2)
    window = gaussian(WINDOW_STD, radius=WINDOW_RADIUS).to(images)

    def mean(values: Images) -> Images:
        return along_each_axis(F.pad(values, margins, mode="reflect"), window)

    mean_1, mean_2 = mean(images), mean(originals)
    variances = mean(images.square() + originals.square()) - mean_1.square() - mean_2.square()
    covariance = mean(images * originals) - mean_1 * mean_2
    of_means = (2 * mean_1 * mean_2 + STABLE_MEAN) / (mean_1.square() + mean_2.square() + STABLE_MEAN)
    of_spreads = (2 * covariance + STABLE_SPREAD) / (variances + STABLE_SPREAD)
    return (of_means * of_spreads).flatten(start_dim=1).mean(dim=1)


def _diversity(comparison: Comparison) -> Estimate:
    sets, count = (comparison.samples, comparison.reference.real), min(comparison.count, MOST_PAIRS)
    samples, real = (_self_similarity(each, count, comparison.reference.values_at_once) for each in sets)
    return Estimate(value=samples, real=real)


def _self_similarity(images: ImageSet, count: int, values_at_once: int) -> float:
    """Compare each image with the next in the shuffled order: as many pairs as images, none of them with itself."""
    first = images.images[:count]
    return mean_over_pairs(ssim, first, first.roll(1, dims=0), values_at_once)


PSNR = PairMetric(
    name="psnr",
    group="reconstructions",
    direction="max",
    unit="dB",
    meaning="the peak signal-to-noise ratio of reconstructions of unseen images",
    blind_to="a lost class: it is measured on given images, not on samples",
    measure=psnr,
)
SSIM = PairMetric(
    name="ssim",
    group="reconstructions",
    direction="max",
    unit="1 is equal",
    meaning="the structural similarity of reconstructions of unseen images",
    blind_to="a lost class: it is measured on given images, not on samples",
    measure=ssim,
)
DIVERSITY = SampleMetric(
    name="diversity",
    group="diversity of samples",
    direction="min",
    unit="SSIM",
    meaning="how alike two samples are on average; far above the real figure, samples repeat themselves",
    blind_to="noise, which makes samples less alike",
    measure=_diversity,
)
