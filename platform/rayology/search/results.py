"""What a sweep found: a table, a plot, and the trial to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure
from ray.tune import Result, ResultGrid
from rich.console import Console
from rich.table import Column, Table

from rayology.bundle import Bundle
from rayology.config import path_of
from rayology.errors import SearchError
from rayology.experiment import Experiment
from rayology.metrics import METRICS, loss_of
from rayology.store import Store
from rayology.training.history import read
from rayology.training.promotion import Promotion, promote_if_better, refusals
from rayology.training.run import BUNDLE, Run

__all__ = ["Best", "TrialResult", "best_first", "plot", "promote_best", "read_results", "table", "write_table"]

Status = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """Outcome of a trial."""

    folder: Path
    choices: Mapping[str, object]
    """Values that were chosen, by the path of the field."""
    status: Status
    """Whether it finished its steps, was stopped early by the scheduler, or failed."""
    step: int
    objective: float
    """Last figure that it reported; NaN if it reported none."""

    @property
    def bundle(self) -> Path:
        """Path of its bundle if it finished."""
        return self.folder / BUNDLE


@dataclass(frozen=True)
class Best:
    """The best trial that may be promoted, and what became of it."""

    bundle: Bundle
    promotion: Promotion


def read_results(sweep: Run, grid: ResultGrid) -> list[TrialResult]:
    """Return the trials of a sweep: those that finished, the best first, then the others."""
    objective = sweep.experiment.search.objective
    return best_first([_read(sweep, result, objective) for result in grid], objective=objective)


def best_first(trials: Sequence[TrialResult], *, objective: str) -> list[TrialResult]:
    """Order trials: those that finished, the best first, then the others."""
    return sorted(trials, key=lambda trial: (trial.status != "finished", loss_of(objective, trial.objective)))


def table(trials: Sequence[TrialResult], *, objective: str) -> Table:
    """Lay the trials out for people, the best first, with the choices in which those that had them differ."""
    values: dict[str, set[object]] = {}
    for trial in trials:
        for name, value in trial.choices.items():
            values.setdefault(name, set()).add(value)
    differing = sorted((name for name in values if len(values[name]) > 1), key=lambda name: ("kind" not in name, name))
    laid_out = Table("trial", objective, "step", "status", Column("choices that differ", ratio=1), expand=True)
    for trial in trials:
        chosen = {name.removeprefix("model."): trial.choices[name] for name in differing if name in trial.choices}
        words = ", ".join(f"{name} {_shortened(value)}" for name, value in chosen.items())
        laid_out.add_row(trial.folder.name, f"{trial.objective:.4g}", str(trial.step), trial.status, words)
    return laid_out


def write_table(trials: Sequence[TrialResult], path: Path, *, objective: str) -> None:
    """Write the table as text."""
    with path.open("w", encoding="utf-8") as file:
        Console(file=file, width=200).print(table(trials, objective=objective))


def plot(trials: Sequence[TrialResult], path: Path, *, objective: str) -> None:
    """Draw how the objective of each trial fell over its steps."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for rank, trial in enumerate(trials):
        looks = [line for line in read(trial.folder) if f"val/{objective}" in line]
        kind = trial.choices.get("model.kind", "")
        axes.plot(
            [look["step"] for look in looks],
            [look[f"val/{objective}"] for look in looks],
            marker="o",
            linestyle="-" if kind == "vae" else "--",
            linewidth=3 if rank == 0 else 1,
            label=f"{trial.folder.name} {kind}, {trial.status}",
        )
    better = "lower" if METRICS[objective].direction == "min" else "higher"
    axes.set(xlabel="step", ylabel=f"{objective} on the validation split, {better} is better", yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def _read(sweep: Run, result: Result, objective: str) -> TrialResult:
    metrics = result.metrics or {}
    folder = sweep.folder / "trials" / Path(result.path).name
    finished = (folder / BUNDLE).is_dir()
    return TrialResult(
        folder=folder,
        choices={path_of(name): value for name, value in (result.config or {}).items()},
        status="failed" if result.error else "finished" if finished else "stopped",
        step=int(metrics.get("step", 0)),
        objective=float(metrics.get(objective, float("nan"))),
    )


def _shortened(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def promote_best(trials: Sequence[TrialResult], experiment: Experiment) -> Best:
    """Publish the best finished trial that passes the gates, and make it the champion if it is better than that.

    Raises:
        SearchError: no trial finished, or each of them is refused by a gate.
    """
    refused = []
    for trial in trials:
        if trial.status != "finished":
            break
        bundle = Bundle.load(trial.bundle)
        if found := refusals(bundle.manifest):
            refused.append(f"{trial.folder.name}: {'; '.join(found)}")
            continue
        store = Store(str(experiment.storage.expanduser().absolute() / "store"))
        version = store.publish(bundle, experiment.name)
        promotion = promote_if_better(store, experiment.name, version, storage=experiment.storage)
        return Best(bundle, promotion)
    raise SearchError("; ".join(refused) or f"none of {len(trials)} trials finished; see the sweep's folder for why")
