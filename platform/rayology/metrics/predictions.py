"""How right predictions are: of the class of an image, and of regions in it."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from rayology.metrics.metric import LabelMetric, MaskMetric

__all__ = ["ACCURACY", "DICE"]


def _accuracy(logits: Float[Tensor, "batch class"], labels: Int[Tensor, " batch"]) -> float:
    return float((logits.argmax(dim=1) == labels).double().mean())


def _dice(logits: Float[Tensor, "batch region *space"], masks: UInt8[Tensor, "batch *space"]) -> float:
    """Return the mean over regions of 2 |A and B| / (|A| + |B|), pixels of all images together (Dice 1945)."""
    found = logits.argmax(dim=1)
    regions = range(1, logits.shape[1])
    overlaps = torch.stack([2.0 * ((found == region) & (masks == region)).sum() for region in regions]).double()
    sizes = torch.stack([(found == region).sum() + (masks == region).sum() for region in regions]).double()
    return float(torch.where(sizes > 0, overlaps / sizes.clamp(min=1.0), 1.0).mean())


ACCURACY = LabelMetric(
    name="accuracy",
    group="predictions",
    direction="max",
    unit="share",
    meaning="the share of unseen images whose class is named right",
    blind_to="a rare class that is never named",
    measure=_accuracy,
)
DICE = MaskMetric(
    name="dice",
    group="predictions",
    direction="max",
    unit="1 is equal",
    meaning="how much found and true regions overlap, in the mean over regions",
    measure=_dice,
)
