"""An exponential moving average of weights, its half-life counted in images."""

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


def update_average(average: list[Tensor], weights: list[Tensor], *, kept: float, held: Tensor) -> None:
    """Move each averaged weight towards the current one, in place; not at all if ``held`` is 1."""
    share = (1.0 - held.to(average[0].dtype)) * (1.0 - kept)
    torch._foreach_lerp_(average, weights, [share] * len(average))
