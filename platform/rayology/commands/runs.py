"""List the runs and sweeps of a storage with how far each is, compare two runs, or remove one of either.

rayology runs --storage /data/rayology
rayology runs --action compare --name phantom-20260101-120000-000000 --other phantom-20260101-110000-000000
rayology runs --action remove --name phantom-20260101-120000-000000
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table

from rayology.bundle import Bundle
from rayology.config import Config, differing
from rayology.errors import ConfigError
from rayology.progress import console
from rayology.search.journal import JOURNAL, trial_name
from rayology.search.results import SweepResult
from rayology.training.history import read
from rayology.training.run import BUNDLE, DIVERGED, EXPERIMENT, SUMMARY, Run, begun, in_sole_use, is_in_use

SHOWN = 4  # figures of a run in the table; the answer has all


class RunsConfig(Config):
    """What to do with which runs."""

    action: Literal["list", "compare", "remove"] = "list"
    """What to do; remove deletes the folder of a run or a sweep, with its checkpoints and bundles, but no published
    version."""
    storage: Path = Path(".rayology")
    """Folder of the runs and sweeps, as in the experiment."""
    name: str = ""
    """Name of the run to compare, or of the run or sweep to remove; empty to compare the newest."""
    other: str = ""
    """Name of the run to compare it with; empty for the newest besides it."""


@dataclass(frozen=True)
class State:
    """How far a run is."""

    step: int
    """Steps that it has taken, as its history says."""
    steps: int
    """Steps that it is to take; 0 if what it began with cannot be read."""
    status: str
    """How it stands: running, ended, diverged, or interrupted."""
    figures: Mapping[str, float]
    """The newest value of each, those of the validation first."""
    has_bundle: bool


@dataclass(frozen=True)
class SweepState:
    """How far a sweep is."""

    num_ended: int
    """Trials that have ended, those that repeat finalists among them."""
    num_trials: int
    """Trials that it is to have; 0 if what it began with cannot be read, and then its trials are not known either."""
    status: str
    """How it stands: running, ended, or interrupted."""
    objective: str = ""
    best: float | None = None
    """The objective of the best trial that finished."""
    winner: str = ""
    """The best finalist; empty if there is none yet."""
    is_told_apart: bool = False
    """Whether the winner is the best beyond the noise."""


def main(config: RunsConfig) -> Mapping[str, object]:
    """Return what was found or done; runs and sweeps are listed from the oldest on."""
    storage = config.storage.expanduser()
    if not any((storage / kind).is_dir() for kind in ("runs", "sweeps")):
        raise ConfigError(f"storage: {config.storage} holds no runs; name the folder that train or tune was given")
    runs, sweeps = (_oldest_first(storage / kind) for kind in ("runs", "sweeps"))
    if config.action == "list":
        return {**(listed(runs) if runs or not sweeps else {"runs": {}}), **listed_sweeps(sweeps)}
    if config.action == "compare" and len(runs) < 2:
        raise ConfigError(f"storage: {config.storage} holds {len(runs)} run; it takes two to compare")
    if config.action == "compare" and config.name == config.other != "":
        raise ConfigError(f"other: {config.other} is the same run; name another one")
    if config.action == "compare":
        one = chosen(runs, "name", config.name)
        return compared(one, chosen([run for run in runs if run != one], "other", config.other))
    if not config.name:
        raise ConfigError("name: write which run or sweep to remove")
    return removed(chosen([*runs, *sweeps], "name", config.name))


def _oldest_first(folder: Path) -> list[Path]:
    files = sorted(folder.glob(f"*/{EXPERIMENT}"), key=lambda file: file.stat().st_mtime_ns)
    return [file.parent for file in files]


def chosen(runs: Sequence[Path], field: str, name: str) -> Path:
    """Return the run of a name, or the newest.

    Raises:
        ConfigError: there is no such run.
    """
    named = [run for run in runs if name in {"", run.name}]
    if not named:
        known = ", ".join(run.name for run in runs[-3:]) or "none yet"
        raise ConfigError(f"{field}: {name!r} is not the name of a run there; the newest are: {known}")
    return named[-1]


def listed(folders: Sequence[Path]) -> Mapping[str, object]:
    """Show how far each run is, how it stands, its last figures, and whether it has a bundle."""
    runs = {folder.name: state_of(folder) for folder in folders}
    laid_out = Table("run", "steps", "status", "last figures", "bundle")
    for name, state in runs.items():
        own = [figure for figure in state.figures if figure.rpartition("/")[0] not in state.figures]  # no real images'
        figures = ", ".join(f"{figure} {state.figures[figure]:.4g}" for figure in own[:SHOWN])
        steps, bundle = f"{state.step} of {state.steps or '?'}", "yes" if state.has_bundle else "no"
        laid_out.add_row(name, steps, state.status, figures, bundle)
    console.print(laid_out)
    return {"runs": {name: asdict(state) for name, state in runs.items()}}


def listed_sweeps(folders: Sequence[Path]) -> Mapping[str, object]:
    """Show how far each sweep is, how it stands, and who leads or has won."""
    sweeps = {folder.name: state_of_sweep(folder) for folder in folders}
    laid_out = Table("sweep", "trials", "status", "best so far", "winner")
    for name, state in sweeps.items():
        best = "" if state.best is None else f"{state.objective} {state.best:.4g}"
        surely = f", {'' if state.is_told_apart else 'not '}told apart" if state.winner else ""
        trials = f"{state.num_ended} of {state.num_trials or '?'}"
        laid_out.add_row(name, trials, state.status, best, f"{state.winner}{surely}")
    if sweeps:
        console.print(laid_out)
    return {"sweeps": {name: asdict(state) for name, state in sweeps.items()}}


def state_of_sweep(folder: Path) -> SweepState:
    """Read how far a sweep is, from its journal."""
    status = "running" if is_in_use(folder) else "interrupted"
    if not (folder / JOURNAL).exists():
        return SweepState(0, 0, status)
    try:
        found = SweepResult.read(Run(folder, begun(folder)))
    except (ConfigError, KeyError):  # another version of Rayology began it
        return SweepState(0, 0, status)
    if status == "interrupted" and (folder / SUMMARY).exists() and all(trial.outcome for trial in found.trials):
        status = "ended"
    search = found.experiment.search
    best = [found.figure(trial) for trial in found.explored if trial.losses and math.isfinite(found.figure(trial))]
    return SweepState(
        num_ended=found.num_ended,
        num_trials=search.num_trials,
        status=status,
        objective=search.objective,
        best=best[0] if best else None,
        winner="".join(trial_name(standing.number) for standing in found.standings[:1]),
        is_told_apart=found.is_told_apart,
    )


def state_of(folder: Path) -> State:
    """Read how far a run is."""
    newest: dict[str, float] = {}
    for line in read(folder):
        newest |= line
    step, kept = int(newest.get("step", 0)), (folder / BUNDLE).is_dir()
    names = sorted(filter(lambda name: name not in {"step", "seconds"}, newest), key=lambda name: name[:4] != "val/")
    try:
        steps = begun(folder).schedule.steps
    except ConfigError:  # another version of Rayology began it
        steps = 0
    marks = {"running": is_in_use(folder), "diverged": (folder / DIVERGED).exists(), "ended": kept and step >= steps}
    status = next((name for name, is_so in marks.items() if is_so), "interrupted")
    return State(step, steps, status, {name: newest[name] for name in names}, kept)


def compared(one: Path, other: Path) -> Mapping[str, object]:
    """Show in which fields the experiments of two runs differ, and the figures of both next to each other."""
    fields = differing(*(begun(run, field, "name another run") for run, field in ((one, "name"), (other, "other"))))
    measured = [figures_of(run) for run in (one, other)]
    figures = {name: tuple(each.get(name) for each in measured) for name in measured[0] | measured[1]}
    laid_out = Table("", one.name, other.name)
    for path, values in fields.items():
        laid_out.add_row(path, *("" if value is None else str(value) for value in values))
    laid_out.add_section()
    for name, pair in figures.items():
        laid_out.add_row(name, *("" if figure is None else f"{figure:.4g}" for figure in pair))
    console.print(laid_out)
    return {"runs": [one.name, other.name], "fields": fields, "figures": figures}


def figures_of(folder: Path) -> dict[str, float]:
    """Return how far a run is, its newest figures, and those that its bundle has of the whole validation split."""
    state = state_of(folder)
    whole = Bundle.load(folder / BUNDLE).manifest.metrics if state.has_bundle else {}
    return {"step": state.step, **state.figures, **{f"bundle/{name}": figure for name, figure in whole.items()}}


def removed(folder: Path) -> Mapping[str, object]:
    """Delete a run or a sweep that nobody trains, and say how much space that gives back."""
    leaving = folder.with_name(f".{folder.name}.removed")
    with in_sole_use(folder):
        folder.rename(leaving)
    freed = sum(file.stat().st_size for file in leaving.rglob("*") if file.is_file())
    shutil.rmtree(leaving)  # once no file in it is open, which network file systems would keep
    console.print(f"{folder.name} was removed: {freed / 1e6:,.1f} MB are free again.", highlight=False)
    return {"removed": folder.name, "freed_bytes": freed}
