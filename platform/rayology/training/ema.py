"""An exponential moving average of weights, its half-life counted in images."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["decay", "update_average"]

RAMP = 0.05  # early on the half-life is this share of the images seen (Karras et al. 2020, appendix B)


def decay(images_seen: int, batch_size: int, *, half_life: float) -> float:
    """Return what the average keeps of itself when a batch was seen; 0 before any image was.

    >>> decay(1_000_000, 100, half_life=100.0)
    0.5
    """
    reached = min(half_life, RAMP * images_seen)
    return 0.5 ** (batch_size / reached) if reached > 0 else 0.0


@torch.no_grad()
def update_average(average: Iterable[Tensor], weights: Iterable[Tensor], *, kept: float, held: Tensor) -> None:
    """Move each averaged weight towards the current one, in place; not at all if ``held`` is 1."""
    for mean, weight in zip(average, weights, strict=True):
        mean.lerp_(weight, (1.0 - held.to(mean.dtype)) * (1.0 - kept))
