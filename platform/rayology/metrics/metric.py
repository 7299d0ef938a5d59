"""What a metric is: a name, a direction, what it needs, and what it cannot see."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from rayology.metrics.images import Images, ImageSet, Reference

__all__ = [
    "AtMost",
    "Comparison",
    "Estimate",
    "Group",
    "LabelMetric",
    "MaskMetric",
    "Metric",
    "ModelMetric",
    "PairMetric",
    "SampleMetric",
]


Group = Literal[
    "fidelity of samples",
    "diversity of samples",
    "copies among samples",
    "classes of samples",
    "reconstructions",
    "likelihood",
    "predictions",
]
"""What a figure says something of."""


@dataclass(frozen=True)
class Estimate:
    """A figure, the same figure between real and real images, and the standard error if it is known."""

    value: float
    real: float
    std_error: float | None = None

    def figures(self, name: str) -> dict[str, float]:
        """Return ``name``, ``name/real`` and, if the error is known, ``name/low`` and ``name/high`` (95 %).

        The interval is the normal one, value ± 1.96 standard errors (Efron & Tibshirani 1993), so ``low`` may lie below
        0: images drawn twice bias a distance upward, and percentiles of resampled distances may leave out the distance.
        """
        figures = {name: self.value, f"{name}/real": self.real}
        if self.std_error is not None:
            figures[f"{name}/low"] = self.value - 1.96 * self.std_error
            figures[f"{name}/high"] = self.value + 1.96 * self.std_error
        return figures


@dataclass(frozen=True)
class Comparison:
    """Samples held against real images; ``resamples`` is how often the bootstrap draws, 0 for no intervals."""

    samples: ImageSet
    reference: Reference
    resamples: int

    @property
    def count(self) -> int:
        """How many samples are compared with as many real images."""
        return min(len(self.samples), len(self.reference.real))

    @property
    def real_count(self) -> int:
        """How many training images are compared with as many validation images; at most ``count``."""
        return min(self.count, len(self.reference.train))


@dataclass(frozen=True)
class AtMost:
    """What a figure may be, at most, of a model that is promoted or served."""

    limit: float
    fault: str
    """What a model beyond it does, as a verb, in words that any client may read."""

    def admits(self, figure: float) -> bool:
        """Tell whether a model with this figure may be promoted or served; one that is not a number never is."""
        return figure <= self.limit


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit."""

    name: str
    group: Group
    direction: Literal["min", "max"]
    unit: str
    meaning: str
    blind_to: str = ""
    """The damage that may leave the figure as it is, or better it; empty for a metric fit to be searched for."""
    gate: AtMost | None = None
    """What the figure must be of a model that is promoted or served; None for a metric that forbids nothing."""
    advice: str = ""
    """What a figure beyond the gate means, and what to do about it."""
    needs: ClassVar[Literal["generate", "reconstruct", "bound", "classify", "segment"]]
    """The capability without which a model has no such figure."""

    @property
    def objective(self) -> bool:
        """Whether a search may choose models by it: only if blur, noise and a lost class all make it worse."""
        return not self.blind_to


@dataclass(frozen=True, kw_only=True)
class SampleMetric(Metric):
    """A figure of samples held against real images; None if there are too few."""

    measure: Callable[[Comparison], Estimate | None]
    needs = "generate"


@dataclass(frozen=True, kw_only=True)
class PairMetric(Metric):
    """A figure of reconstructions held against their originals: the mean of what is measured of each."""

    measure: Callable[[Images, Images], Float[Tensor, " image"]]
    needs = "reconstruct"


@dataclass(frozen=True, kw_only=True)
class ModelMetric(Metric):
    """A figure that a model with a likelihood computes of itself."""

    needs = "bound"


@dataclass(frozen=True, kw_only=True)
class LabelMetric(Metric):
    """A figure of the classes that a model names, held against the true ones."""

    measure: Callable[[Tensor, Int[Tensor, " batch"]], float]
    """Maps logits, (batch, class), and labels to the figure."""
    needs = "classify"


@dataclass(frozen=True, kw_only=True)
class MaskMetric(Metric):
    """A figure of the regions that a model finds, held against masks."""

    measure: Callable[[Tensor, Tensor], float]
    """Maps logits, (batch, region, *space), background first, and masks, (batch, *space), to the figure."""
    needs = "segment"
