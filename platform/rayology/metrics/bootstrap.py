"""The uncertainty of a distance between two sets of images, by drawing each set again from itself."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Counts", "Distance", "drawn", "once", "std_error"]

Counts = Float[Tensor, "resample image"]
Distance = Callable[[Counts, Counts], Float[Tensor, " resample"]]
"""Distances between two sets, given how often each image of either is counted."""


def std_error(distance: Distance, count: int, *, resamples: int, device: torch.device) -> float | None:
    """Return the bootstrap's standard error (Efron 1979) of a distance between two sets of ``count`` images."""
    if resamples < 2:
        return None
    generator = torch.Generator().manual_seed(count)
    left, right = (drawn(count, resamples, generator).to(device) for _ in range(2))
    return float(distance(left, right).std())


def drawn(count: int, resamples: int, generator: torch.Generator) -> Counts:
    """Count how often each image is drawn when ``count`` are drawn with replacement."""
    picks = torch.randint(count, (resamples, count), generator=generator)
    return torch.zeros(resamples, count, dtype=torch.float64).scatter_add(
        1, picks, torch.ones_like(picks, dtype=torch.float64)
    )


def once(count: int, device: torch.device) -> Counts:
    """Count every image once."""
    return torch.ones(1, count, dtype=torch.float64, device=device)
