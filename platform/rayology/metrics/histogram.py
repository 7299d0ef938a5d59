"""How often each grey value occurs."""

import torch
from jaxtyping import Float
from torch import Tensor

from rayology.metrics.bootstrap import Counts, Distance

__all__ = ["grey_shares", "histogram_distance"]

NUM_BINS = 512


def grey_shares(images: Float[Tensor, "image channel *space"]) -> Float[Tensor, "image channel bin"]:
    """Return the share of each image's pixels in each of 512 equal bins of [-1, 1]."""
    count, channels = images.shape[:2]
    bins = ((images + 1) * (NUM_BINS / 2)).long().clamp(0, NUM_BINS - 1).flatten(start_dim=2)
    rows = torch.arange(count * channels, device=images.device).view(count, channels, 1) * NUM_BINS
    shares = torch.bincount((bins + rows).flatten(), minlength=count * channels * NUM_BINS)
    return shares.view(count, channels, NUM_BINS).to(images.dtype) / bins.shape[2]


def histogram_distance(
    generated: Float[Tensor, "image channel bin"], real: Float[Tensor, "image channel bin"]
) -> Distance:
    """Return the Wasserstein-1 distance of grey values: the area between the cumulative shares, mean over channels."""

    def cumulative(shares: Float[Tensor, "image channel bin"], counts: Counts) -> Float[Tensor, "resample channel bin"]:
        mean = counts @ shares.flatten(start_dim=1).double() / counts.sum(dim=1, keepdim=True)
        return mean.view(len(counts), *shares.shape[1:]).cumsum(dim=2)

    def distance(left: Counts, right: Counts) -> Float[Tensor, " resample"]:
        apart = (cumulative(generated, left) - cumulative(real, right)).abs()
        return apart.sum(dim=2).mean(dim=1) * (2 / NUM_BINS)

    return distance
