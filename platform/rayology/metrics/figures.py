"""Figures as people read them: grouped by meaning, each with its unit, its direction and what it is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

from rich.table import Table

from rayology.metrics import METRICS
from rayology.metrics.bands import BANDS
from rayology.metrics.class_accuracy import CLASS_ACCURACY
from rayology.metrics.metric import Group, Metric

__all__ = ["HEAD", "Figure", "as_markdown", "as_table", "figures_of", "grouped"]

HEAD = ("figure", "value", "unit", "better if", "real images", "held against")
DESCRIBED: Mapping[str, Metric] = {**METRICS, CLASS_ACCURACY.name: CLASS_ACCURACY}
BOUNDS = ("low", "high")
REAL = "real"


@dataclass(frozen=True)
class Figure:
    """One figure of a model."""

    name: str
    value: float
    group: str
    unit: str
    better: Literal["lower", "higher", "near real", ""]
    meaning: str
    interval: tuple[float, float] | None
    """Interval of 95 % confidence; None if the figure has none."""
    real: float | None
    """The same figure of real images."""
    baselines: Mapping[str, float]
    """The same figure of chance, or of what needs no training, by its name."""

    def beats(self, baseline: str) -> bool:
        """Tell whether the figure, with its whole interval if it has one, is better than a baseline's."""
        low, high = self.interval or (self.value, self.value)
        other = self.baselines[baseline]
        return high < other if self.better == "lower" else low > other

    def _verdict(self, baseline: str) -> str:
        if self.better not in {"lower", "higher"}:
            return ""
        return "better than " if self.beats(baseline) else "not better than "

    def cells(self) -> tuple[str, ...]:
        """Return what stands below each word of ``HEAD``."""
        interval = f" ({self.interval[0]:.3g} to {self.interval[1]:.3g})" if self.interval else ""
        held_against = (f"{self._verdict(name)}{name} ({value:.4g})" for name, value in self.baselines.items())
        real = "" if self.real is None else f"{self.real:.4g}"
        return (self.name, f"{self.value:.4g}{interval}", self.unit, self.better, real, "; ".join(held_against))


def figures_of(metrics: Mapping[str, float]) -> list[Figure]:
    """Return the figures that stand under ``mmd``, ``mmd/real``, ``mmd/low`` and so on, in the order of their groups.

    A name that is not known today, as of an older bundle, comes last and says nothing of itself.
    """
    names = [name for name in metrics if name.rpartition("/")[0] not in metrics]
    figures = [_figure(name, metrics) for name in names]
    order = [*get_args(Group), ""]
    return sorted(figures, key=lambda figure: order.index(figure.group))


def grouped(figures: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    """Return the figures of each group, under its name."""
    groups = groupby(figures, key=lambda figure: figure.group)
    return [(name.capitalize() or "Other", list(members)) for name, members in groups]


def as_table(metrics: Mapping[str, float], *, caption: str = "") -> Table:
    """Lay figures out for a terminal."""
    laid_out = Table(*HEAD, caption=caption or None)
    for group, members in grouped(figures_of(metrics)):
        laid_out.add_row(f"[bold]{group}")
        for figure in members:
            laid_out.add_row(*figure.cells())
        laid_out.add_section()
    return laid_out


def as_markdown(metrics: Mapping[str, float]) -> str:
    """Lay figures out for a model card, which says what each of them means."""
    parts = []
    for group, members in grouped(figures_of(metrics)):
        rows = [HEAD, ("---",) * len(HEAD), *(figure.cells() for figure in members)]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        meanings = [f"- `{figure.name}`: {figure.meaning}." for figure in members if figure.meaning]
        parts.append("\n".join([f"### {group}", "", *lines, *([""] if meanings else []), *meanings]))
    return "\n\n".join(parts)


def _figure(name: str, metrics: Mapping[str, float]) -> Figure:
    others = {key.removeprefix(f"{name}/"): value for key, value in metrics.items() if key.startswith(f"{name}/")}
    low, high = (others.get(bound) for bound in BOUNDS)
    group, unit, better, meaning = _described(name)
    return Figure(
        name=name,
        value=metrics[name],
        group=group,
        unit=unit,
        better=better,
        meaning=meaning,
        interval=None if low is None or high is None else (low, high),
        real=others.get(REAL),
        baselines={key: value for key, value in others.items() if key not in {*BOUNDS, REAL}},
    )


def _described(name: str) -> tuple[str, str, Literal["lower", "higher", "near real", ""], str]:
    """Return a figure's group, unit, direction and meaning."""
    kind, _, band = name.partition("/")
    if kind == "share" and band in BANDS:
        low, high = BANDS[band]
        return ("fidelity of samples", "share", "near real", f"the share of pixels from {low:g} to {high:g} HU")
    if name not in DESCRIBED:
        return ("", "", "", "")
    metric = DESCRIBED[name]
    better: Literal["lower", "higher"] = "lower" if metric.direction == "min" else "higher"
    return (metric.group, metric.unit, better, metric.meaning)
