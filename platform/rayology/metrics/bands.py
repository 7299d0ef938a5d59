"""What CT images consist of, by Hounsfield units."""

from jaxtyping import Float
from torch import Tensor

__all__ = ["BANDS", "band_shares"]

# Bounds that lie between the usual values: air -1000, lung -900 to -600, fat -100, muscle 50, bone from 300 up.
BANDS = {"air": (-float("inf"), -950.0), "lung": (-950.0, -500.0), "soft tissue": (-500.0, 200.0)}
BANDS["bone"] = (200.0, float("inf"))


def band_shares(hounsfield: Float[Tensor, "batch channel height width"]) -> dict[str, float]:
    """Return the share of the pixels in each band; the shares add up to 1."""
    return {
        band: float(((hounsfield >= low) & (hounsfield < high)).float().mean()) for band, (low, high) in BANDS.items()
    }
