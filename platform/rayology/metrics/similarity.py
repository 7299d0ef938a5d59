"""How alike two images are: reconstructions and originals, or samples among themselves."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from rayology.image import num_affordable
from rayology.metrics.images import Images, ImageSet
from rayology.metrics.metric import Comparison, Estimate, PairMetric, SampleMetric

__all__ = ["DIVERSITY", "PSNR", "SSIM"]

RANGE = 2.0
MOST_PAIRS = 128
AT_ONCE = 32


def psnr(images: Images, originals: Images) -> float:
    """Return the mean over images of 10 log10(range² / mean squared error); equal images count as 100 dB."""
    error = (images - originals).square().mean(dim=tuple(range(1, images.ndim))).clamp(min=RANGE**2 * 1e-10)
    return float((10 * torch.log10(RANGE**2 / error)).mean())


def ssim(images: Images, originals: Images) -> float:
    """Return the mean structural similarity (Wang et al. 2004)."""
    return float(_ssim(images, originals).mean())


def _ssim(left: Images, right: Images) -> Float[Tensor, " image"]:
    num_parts = math.ceil(len(left) / num_affordable(AT_ONCE, left.shape[1:]))
    parts = [
        structural_similarity_index_measure(*pair, data_range=RANGE, reduction="none").reshape(-1)
        for pair in zip(left.chunk(num_parts), right.chunk(num_parts), strict=True)
    ]
    return torch.cat(parts)


def _diversity(comparison: Comparison) -> Estimate:
    samples, real = comparison.samples, comparison.reference.real
    return Estimate(value=_self_similarity(samples, comparison.count), real=_self_similarity(real, comparison.count))


def _self_similarity(images: ImageSet, count: int) -> float:
    """Compare each image with the next in the shuffled order: as many pairs as images, none of them with itself."""
    first = images.images[: min(count, MOST_PAIRS)]
    return ssim(first, first.roll(1, dims=0))


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
