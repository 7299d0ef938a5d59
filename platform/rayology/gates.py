"""Gates: what the figures of a model must be before it is promoted or served, whoever asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from rayology.bundle import Bundle, Manifest
from rayology.errors import RefusedByGate
from rayology.metrics import METRICS, AtMost, Metric

__all__ = ["refusals", "require_gates"]


@dataclass(frozen=True)
class _Refusal:
    """A gate that a model does not pass."""

    sentence: str
    """The figure, its limit, what follows, and what to do."""
    fault: str
    """What the model does, in words that any client may read."""


def refusals(manifest: Manifest) -> list[str]:
    """Say which gates a model does not pass: those of metrics that need a capability that it has."""
    return [refusal.sentence for refusal in _refusals(manifest)]


def require_gates(bundle: Bundle) -> None:
    """Refuse a model that nothing may promote or serve.

    Raises:
        RefusedByGate: names each figure that is missing or beyond its gate, and what to do.
    """
    if refused := list(_refusals(bundle.manifest)):
        sentences = "; ".join(refusal.sentence for refusal in refused)
        raise RefusedByGate(f"{bundle.path}: {sentences}", fault=" and ".join(refusal.fault for refusal in refused))


def _refusals(manifest: Manifest) -> Iterator[_Refusal]:
    for metric in METRICS.values():
        if metric.gate and metric.needs in manifest.capabilities:
            yield from _refusals_of(metric, metric.gate, manifest.metrics.get(metric.name))


def _refusals_of(metric: Metric, gate: AtMost, figure: float | None) -> Iterator[_Refusal]:
    if figure is None:
        sentence = f"has no figure {metric.name!r}, so it is neither promoted nor served; train it again"
        yield _Refusal(sentence, f"nobody measured whether it {gate.fault}")
    elif not gate.admits(figure):
        found = f"{metric.name} is {_shown(metric, figure)}, more than {_shown(metric, gate.limit)}"
        yield _Refusal(f"{found}, so it is neither promoted nor served: {metric.advice}", f"it {gate.fault}")


def _shown(metric: Metric, figure: float) -> str:
    """Write a figure for people: a share in percent."""
    return f"{100 * figure:.3g} %" if metric.unit == "share" else f"{figure:.4g}"
