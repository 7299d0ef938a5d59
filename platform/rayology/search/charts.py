"""Pictures of a sweep: how it went, how its trials fell, where they lie, what mattered, and who is ahead in what."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rayology.config import Choice, Range
from rayology.metrics import METRICS, WORST
from rayology.search.journal import Trial
from rayology.search.ranking import is_dominated
from rayology.search.results import SweepResult, as_figure
from rayology.search.space import Dimension, Value

__all__ = ["coordinates", "curves", "front", "history", "importance_bars"]

GREY = "#9ca3af"
LEADERS = 3  # trials whose lines are thick
MARKS: Mapping[str, str] = {
    "finished": "o",
    "stopped": "v",
    "diverged": "x",
    "unfit": "P",
    "failed": "X",
    "rejected": "|",
    "": "d",
}
"""How the last evaluation of a trial is marked, by its outcome."""


def history(found: SweepResult) -> Figure:
    """Draw the objective of each trial in the order in which they were begun, and the best so far."""
    figure, axes = _figure(found, height=3.6)
    objective = found.experiment.search.objective
    at_edge = 0.98 if METRICS[objective].direction == "min" else 0.02  # of what has no figure
    for trial in found.trials:
        value = found.figure(trial)
        axes.plot(
            [trial.number],
            [at_edge if math.isnan(value) else value],
            transform=axes.get_xaxis_transform() if math.isnan(value) else axes.transData,
            marker=MARKS[trial.outcome],
            color=_colors(found)[trial.kind],
            markerfacecolor="white" if trial.repeats is not None else None,
            linestyle="",
            clip_on=not math.isnan(value),
            gid=trial.name,
        )
    finished = [trial for trial in found.trials if trial.losses and trial.repeats is None]
    best = [as_figure(objective, loss) for loss in accumulate((trial.losses[0] for trial in finished), min)]
    axes.plot([trial.number for trial in finished], best, drawstyle="steps-post", color=GREY, zorder=1)
    axes.set(xlabel="trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, found, {"best so far": Line2D([], [], color=GREY), **_repeats(found)})
    return figure


def curves(found: SweepResult) -> Figure:
    """Draw how the objective of each trial went over its steps, to where it was stopped; the best one is thick."""
    figure, axes = _figure(found, height=4.2)
    objective = found.experiment.search.objective
    best = found.standings[0].number if found.standings else found.explored[0].number if found.explored else -1
    for trial in found.explored:
        seen = {step: as_figure(objective, trial.curve[step]) for step in sorted(trial.curve)}
        axes.plot(
            [*seen],
            [*seen.values()],
            color=_colors(found)[trial.kind],
            linewidth=3 if trial.number == best else 1,
            alpha=1 if trial.number == best else 0.6,
            marker=MARKS[trial.outcome],
            markevery=[-1] if seen else None,
            gid=trial.name,
        )
    axes.set(xlabel="step")
    _legend(figure, found, {})
    return figure


def coordinates(found: SweepResult, kind: str) -> Figure | None:
    """Draw each trial of a kind of model as a line down the dimensions in which they differ, inner kinds first.

    A trial has a point in those alone that are open to it. Color tells its rank among all that finished. None if they
    differ in nothing.
    """
    ranked = [(rank, trial) for rank, trial in enumerate(found.explored, 1) if trial.kind == kind]
    rows = _rows(found, [trial for _, trial in ranked])
    if not rows:
        return None
    figure = Figure(figsize=(9.5, 1 + 0.46 * len(rows)), layout="constrained")
    axes = figure.subplots()
    num_finished = sum(bool(trial.losses) for trial in found.explored)
    ranks, colors = Normalize(1, max(2, num_finished)), mpl.colormaps["viridis"]
    for rank, trial in reversed(ranked):
        values = trial.by_path
        spread = 0.05 * (rank / len(found.explored) - 0.5)  # keeps lines through one choice apart
        places = [_place(rows[path], values[path], spread) if path in values else math.nan for path in rows]
        (line,) = axes.plot(places, range(len(rows)), marker="o", markersize=3, gid=trial.name)
        line.set(color=colors(ranks(rank)) if trial.losses else GREY, alpha=0.9 if trial.losses else 0.35)
        line.set_linewidth(2.5 if rank <= LEADERS and trial.losses else 1)
    behind = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5}
    for row, dimension in enumerate(rows.values()):
        axes.plot([0, 1], [row, row], color="#d1d5db", linewidth=1, zorder=0)
        for place, words in _ticks(dimension):
            label = axes.text(
                place, row + 0.16, words, ha="center", va="top", fontsize=7.5, color="#4b5563", bbox=behind
            )
            label.set_in_layout(False)  # measuring them takes seconds
    axes.set(xlim=(-0.06, 1.06), ylim=(len(rows) - 0.4, -0.4), xticks=[], yticks=range(len(rows)), yticklabels=rows)
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(ScalarMappable(ranks, colors), ax=axes, location="top", aspect=50, shrink=0.7, pad=0.01)
    bar.set_label("rank of those that finished; the others are grey")
    bar.set_ticks(MaxNLocator(8, integer=True))
    return figure


def importance_bars(shares: Mapping[str, float]) -> Figure:
    """Draw the shares of the dimensions that matter most."""
    shown = dict([*shares.items()][:12])
    figure = Figure(figsize=(9.5, 0.6 + 0.27 * len(shown)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([*shown], [*shown.values()], color="#2563eb", height=0.6)
    axes.bar_label(bars, [f"{share:.0%}" for share in shown.values()], padding=4)
    axes.invert_yaxis()
    axes.set(xticks=[])
    axes.spines[:].set_visible(False)
    return figure


def front(found: SweepResult) -> Figure:
    """Draw the finished trials by the objective and what is weighed against it; those that are dominated are grey."""
    search, finished = found.experiment.search, [trial for trial in found.explored if trial.losses]
    count = len(search.tradeoffs)
    figure = Figure(figsize=(9.5, 3.8 * math.ceil(count / 2)), layout="constrained")
    for place, name in enumerate(search.tradeoffs, 1):
        axes = figure.add_subplot(math.ceil(count / 2), 2, place)
        for trial in finished:
            at = (found.figure(trial), as_figure(name, trial.losses[place]))
            is_behind = is_dominated(trial, finished)
            color = "#d1d5db" if is_behind else _colors(found)[trial.kind]
            axes.plot([at[0]], [at[1]], marker="o", color=color, zorder=1 if is_behind else 2, gid=trial.name)
            if not is_behind:
                axes.annotate(str(trial.number), at, (4, 3), textcoords="offset points", fontsize=8)
        axes.set(xlabel=search.objective, ylabel=name)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(found: SweepResult, *, height: float) -> tuple[Figure, Axes]:
    """Return an empty chart of the objective."""
    objective = found.experiment.search.objective
    figure = Figure(figsize=(9.5, height), layout="constrained")
    axes = figure.subplots()
    losses = [loss for trial in found.trials for loss in (*trial.losses[:1], *trial.curve.values()) if loss < WORST]
    if losses and min(losses) > 0 and max(losses) > 10 * min(losses):
        axes.set_yscale("log")
    better = "lower" if METRICS[objective].direction == "min" else "higher"
    axes.set(ylabel=f"{objective} ({better} is better)")
    axes.grid(visible=True, color="#f3f4f6")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, found: SweepResult, others: Mapping[str, Line2D]) -> None:
    colors = {kind: Line2D([], [], color=color, linewidth=3) for kind, color in _colors(found).items()}
    outcomes = dict.fromkeys(trial.outcome for trial in found.trials)
    marks = {
        outcome or "running": Line2D([], [], color="#374151", marker=MARKS[outcome], linestyle="")
        for outcome in MARKS
        if outcome in outcomes
    }
    entries = {**colors, **marks, **others}
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", frameon=False)


def _repeats(found: SweepResult) -> dict[str, Line2D]:
    mark = Line2D([], [], color="#374151", marker="o", markerfacecolor="white", linestyle="")
    return {"finalist again": mark} if any(trial.repeats is not None for trial in found.trials) else {}


def _colors(found: SweepResult) -> dict[str, str]:
    """Return a color for each kind of model, in the order in which they were tried."""
    kinds = dict.fromkeys(trial.kind for trial in found.trials)
    return {kind: f"C{place}" for place, kind in enumerate(kinds)}


def _rows(found: SweepResult, trials: Sequence[Trial]) -> dict[str, Dimension]:
    """Return the dimensions in which trials differ, by path, kinds first; those of several kinds are one there."""
    values: dict[str, dict[Value, None]] = {}
    for trial in trials:
        for path, value in trial.by_path.items():
            values.setdefault(path, {})[value] = None
    alike: dict[str, list[Dimension]] = {}
    for dimension in found.space.dimensions:
        if len(values.get(dimension.path, ())) > 1:
            alike.setdefault(dimension.path, []).append(dimension)
    rows = [Dimension(path, _joined(each, values[path]), each[0].is_integer) for path, each in alike.items()]
    return {row.name: row for row in sorted(rows, key=lambda row: not row.is_kind)}


def _joined(alike: Sequence[Dimension], seen: Iterable[Value]) -> Range | Choice:
    """Return what holds all values of dimensions that set one field."""
    ranges = [dimension.mark for dimension in alike if isinstance(dimension.mark, Range)]
    if len(ranges) == len(alike):
        low, high = min(each.low for each in ranges), max(each.high for each in ranges)
        return Range(low, high, log=all(each.log for each in ranges))
    return Choice(*dict.fromkeys([*(value for dimension in alike for value in dimension.choices), *seen]))


def _place(dimension: Dimension, value: Value, spread: float) -> float:
    """Return where a value lies from 0 to 1."""
    most = max(1, len(dimension.choices) - 1) if dimension.is_categorical else 1
    return dimension.position(value) / most + (spread if dimension.choices else 0)


def _ticks(dimension: Dimension) -> Iterator[tuple[float, str]]:
    """Give the places that are named: choices, or the ends of a range and its middle."""
    for value in dimension.choices or (dimension.at(0), dimension.at(0.5), dimension.at(1)):
        yield _place(dimension, value, 0), f"{value:.3g}" if isinstance(value, float) else str(value)
