"""What CT images consist of, by Hounsfield units."""

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

__all__ = ["BANDS", "band_shares"]

# Bounds that lie between the usual values: air -1000, lung -900 to -600, fat -100, muscle 50, bone from 300 up.
BANDS: Mapping[str, tuple[float, float]] = {
    "air": (-math.inf, -950.0),
    "lung": (-950.0, -500.0),
    "soft tissue": (-500.0, 200.0),
    "bone": (200.0, math.inf),
}
"""The lowest value of each band, and that from which on it is the next."""


def band_shares(hounsfield: Float[Tensor, "batch channel *space"]) -> dict[str, float]:
    """Return the share of the pixels in each band; the shares add up to 1."""
    return {
        band: int(((hounsfield >= low) & (hounsfield < high)).count_nonzero()) / hounsfield.numel()
        for band, (low, high) in BANDS.items()
    }
