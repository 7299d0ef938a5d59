"""Measure what a sweep costs apart from its trainings, and how busy its trainings keep the cores.

python jobs/benchmarks/search_cost.py

A trial that does nothing notes when it began; a trial costs the time from one to the next, one at a time. Ours is a
whole sweep, with its sampler and its journal; plain Tune draws at random. Optuna alone starts no process, and joblib
chooses nothing: they show what little there is to be had. Cores are busy as far as trials compute on them from the
begin of the first to the end of the last; other work on the machine takes from that.
"""

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import optuna
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from peers import Peer, PeerError, Process, started
from pydantic import Field, PositiveInt
from ray import tune
from rich.table import Table

from rayology.config import Config, Range
from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.experiment import Experiment, ScheduleConfig, SearchConfig
from rayology.job import run
from rayology.progress import console
from rayology.search import study
from rayology.search.marks import dimensions
from rayology.search.searcher import LOSSES, OUTCOME, TrialConfig
from rayology.search.space import Dimension, Space
from rayology.session import on_cluster
from rayology.training.run import Assignment, open_run

SCRIPT = Path(__file__).parent / "search_cost_peer.py"
JOBLIB = Peer("joblib", ("joblib",))
NOTES = "notes.txt"
MOST_S, LEAST_BUSY = 0.1, 0.9
SMALL = {"model.*.kind": ("resnet", "vgg"), "model.*.width": (8, 16), "model.*.depth": (1, 2)}


class SearchCostConfig(Config):
    """How long to measure."""

    trials: int = Field(default=20, ge=2)
    """Trials that do nothing, of each round."""
    rounds: PositiveInt = 3
    """Times that each library is asked in turn."""
    trainings: PositiveInt = 16
    """Small trainings of the sweep that is to keep the cores busy."""
    steps: PositiveInt = 1000
    """Steps of each; Tune keeps one process alone for trainings that take less time than a process takes to start."""
    quick: bool = False
    """One round of 6 trials of ours, Tune and Optuna, and 3 trainings of 20 steps."""


def main(config: SearchCostConfig) -> Mapping[str, object]:
    """Return the median seconds of a trial that does nothing, and the share of the cores that trainings keep busy."""
    if config.quick:
        config = SearchCostConfig(trials=6, rounds=1, trainings=3, steps=20, quick=True)
    load = os.getloadavg()[0]
    seconds, missing = dict[str, list[float]](), dict[str, str]()
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # it misses files that trials are told not to write
    with tempfile.TemporaryDirectory() as scratch, on_cluster(), ExitStack() as running:
        experiment = experiment_in(Path(scratch), config.steps)
        data = prepare(experiment.source, experiment.preparation, experiment.storage)
        subjects: dict[str, Callable[[int], Sequence[float]]] = {
            "ours": partial(ours, experiment, data),
            "plain Tune": partial(plain_tune, experiment),
            "Optuna with a journal": partial(optuna_alone, experiment, has_journal=True),
            "Optuna in memory": partial(optuna_alone, experiment, has_journal=False),
        }
        if not config.quick:
            try:
                subjects["joblib"] = partial(joblib, running.enter_context(started(JOBLIB, SCRIPT)))
            except PeerError as error:
                missing["joblib"] = str(error)
        for _ in range(config.rounds):
            for name, began_at in subjects.items():
                seconds.setdefault(name, []).extend(
                    later - earlier for earlier, later in pairwise(began_at(config.trials))
                )
        cores = busy(experiment.patched({"search": {"num_trials": config.trainings}}), data)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    console.print(table(medians))
    said = f"Trainings have the cores for {cores.taken:.0%} of the time, and compute in {cores.computing:.0%} of it."
    console.print(said, f"The load was {load:.1f} before.", highlight=False)
    for name, reason in missing.items():
        console.print(f"{name} is missing: {reason}", style="yellow", markup=False, highlight=False)
    return {
        "seconds_a_trial": medians,
        "cores": asdict(cores),
        "load_before": load,
        "missing": missing,
        "met": {"a_trial_costs_100_ms": medians["ours"] <= MOST_S, "cores_are_busy": cores.computing >= LEAST_BUSY},
    }


def experiment_in(storage: Path, steps: int) -> Experiment:
    """Return a sweep of small trainings."""
    return Experiment(
        storage=storage,
        source=PhantomConfig(patients=12, slices=4, size=32),
        preparation=PreparationConfig(size=16),
        schedule=ScheduleConfig(steps=steps, batch_size=16, evaluate_every=steps // 2),
        search=SearchConfig(grace_steps=steps // 2, narrow=SMALL),
    )


def note(folder: Path, *numbers: float) -> None:
    """Add a line to the notes of a folder."""
    with (folder / NOTES).open("a", encoding="utf-8") as file:
        file.write(" ".join(map(str, numbers)) + "\n")


def noted(folder: Path) -> list[list[float]]:
    """Return the lines of notes."""
    return [[*map(float, line.split())] for line in (folder / NOTES).read_text(encoding="utf-8").splitlines()]


def swept(
    experiment: Experiment, data: PreparedDataset, trial: Callable[[TrialConfig, Assignment], None]
) -> list[list[float]]:
    """Return what the trials of a sweep noted, each of which is a call of a function."""
    sweep = open_run(experiment, "sweeps")
    # Only the trial is another, so that all around it is measured as it is; what a sweep sets for Tune stays with it.
    with patch.object(study, "_trial", trial), patch.dict(os.environ):
        study.search(sweep, data)
    return noted(sweep.folder)


def ours(experiment: Experiment, data: PreparedDataset, trials: int) -> list[float]:
    """Return when each trial of a sweep began that does nothing."""
    wanted = experiment.patched({"search": {"num_trials": trials, "concurrent_trials": 1}})
    return [began_at for (began_at,) in swept(wanted, data, nothing)]


def nothing(config: TrialConfig, assignment: Assignment) -> None:
    """Note when it began, and report as a trial does, once."""
    note(Path(assignment["folder"]), time.time())
    tune.report({OUTCOME: "finished", LOSSES: (float(config["number"] % 7),)})


def plain_tune(experiment: Experiment, trials: int) -> list[float]:
    """Return when each trial began, drawn at random from the space that ours searches."""
    folder = Path(tempfile.mkdtemp(dir=experiment.storage))

    def trial(_: Mapping[str, object]) -> None:
        note(folder, time.time())
        tune.report({"loss": 0.0})

    tune.Tuner(
        tune.with_resources(trial, {"CPU": 1}),
        param_space={dimension.name: drawn_by_tune(dimension) for dimension in dimensions(experiment)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(name="plain", storage_path=str(folder), verbose=0),
    ).fit()
    return [began_at for (began_at,) in noted(folder)]


def drawn_by_tune(dimension: Dimension) -> object:
    """Return what Tune calls a dimension."""
    if not isinstance(dimension.mark, Range):
        return tune.choice(list(dimension.choices))
    draw = tune.loguniform if dimension.mark.log else tune.uniform
    return draw(dimension.mark.low, dimension.mark.high)


def optuna_alone(experiment: Experiment, trials: int, *, has_journal: bool) -> list[float]:
    """Return when each trial of a study began, in this process."""
    file = Path(tempfile.mkdtemp(dir=experiment.storage)) / "journal"
    storage = JournalStorage(JournalFileBackend(str(file))) if has_journal else None
    study, space, began_at = optuna.create_study(storage=storage), Space(dimensions(experiment)), []
    for number in range(trials):
        trial = study.ask()
        space.completed({}, partial(Dimension.suggest, trial=trial))
        began_at.append(time.time())
        study.tell(trial, float(number % 7))
    return began_at


def joblib(process: Process, trials: int) -> list[float]:
    """Return when each call of joblib's began."""
    found = process.ask({"trials": trials})["began_at"]
    return np.array(found, dtype=np.float64).tolist()


@dataclass(frozen=True)
class Busy:
    """Shares of the cores' time, from the begin of the first training to the end of the last."""

    computing: float
    """The share in which a training computed."""
    taken: float
    """The share in which a core had a training, which other work on the machine may have kept from computing."""


def busy(experiment: Experiment, data: PreparedDataset) -> Busy:
    """Return how busy a sweep of trainings keeps the cores."""
    began_at, ended_at, computed_s = (np.array(each) for each in zip(*swept(experiment, data, counted), strict=True))
    whole_s = (ended_at.max() - began_at.min()) * ray.cluster_resources()["CPU"]
    return Busy(float(computed_s.sum() / whole_s), float((ended_at - began_at).sum() / whole_s))


def counted(config: TrialConfig, assignment: Assignment) -> None:
    """Train, and note when it began, when it ended, and the seconds that it computed."""
    began_at, computed_s = time.time(), time.process_time()
    try:
        study._trial(config, assignment)  # noqa: SLF001 - the trial itself, which is another in the driver alone
    finally:
        note(Path(assignment["folder"]), began_at, time.time(), time.process_time() - computed_s)


def table(medians: Mapping[str, float]) -> Table:
    """Return a row a library."""
    shown = Table("a trial that does nothing", "milliseconds")
    for name, seconds in medians.items():
        shown.add_row(name, f"{1000 * seconds:.1f}")
    return shown


if __name__ == "__main__":
    run(SearchCostConfig, main)
