"""Search networks, losses and learning rates, and hold the winner against the default on test images.

python jobs/benchmarks/search_gain.py --data DATA

For each data set a sweep over both kinds of model and three backbones starts from the default GAN. Its winner and the
default are then trained with fresh seeds, equally long by a core's clock, and compared on the test split; the
sweep saw the validation split alone. If the default wins there is nothing to train again. A sweep and runs that have
ended are read from the folder, so that the benchmark may be stopped and started again.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ended import asked_for, keep, reading_data, stored
from gan_grid import DEFAULT, Ended, Figures, Run, data_sets, run_all, sheet, table
from pydantic import PositiveInt

from rayology.commands import tune
from rayology.config import Config
from rayology.experiment import Experiment
from rayology.job import run
from rayology.progress import console
from rayology.search.journal import TRIALS
from rayology.search.marks import candidate
from rayology.search.results import SweepResult
from rayology.search.space import Value
from rayology.session import on_cluster, prepared
from rayology.training.history import read
from rayology.training.run import Run as Sweep

WINNER = "winner"
RATE = "images_per_s"
MOST_COMPUTED = 1.1  # by a winner, in units of the default
FIRST_SEED = 1000  # of the comparison; no trial has it
NARROW = {
    "model.kind": ["gan", "vae"],
    "model.*.kind": ["vgg", "resnet", "densenet"],
    "model.*.width": [8, 16],
    "model.*.depth": [1, 2],
    "model.critic_steps": [1],
}


class SearchGainConfig(Config):
    """What to search and to train, and where what ended is kept."""

    data: Path = Path("../shared/data")
    """Folder with mednist/mednist_18000.zip and pneumoniamnist/pneumoniamnist.npz."""
    folder: Path = Path(".bench/search_gain")
    """Folder with the sweeps, their pages, a folder a run, and the sheets."""
    data_sets: tuple[str, ...] = ("pneumoniamnist", "mednist")
    """Data sets: mednist, pneumoniamnist, phantom, or all."""
    trials: PositiveInt = 32
    """Trials of a sweep, those that repeat finalists among them."""
    steps: PositiveInt = 500
    """Steps of a trial."""
    batch_size: PositiveInt = 16
    """Images of each step."""
    seeds: PositiveInt = 5
    """Trainings of the winner, and as many of the default."""
    quick: bool = False
    """Two trials of a few steps on a small phantom, and a seed: it shows that the benchmark runs."""


@dataclass(frozen=True)
class Winner:
    """What a sweep found."""

    sweep: str
    """Name of the sweep."""
    trial: int
    point: Mapping[str, Value]
    """What it chose of all that is searched."""
    cost: float
    """What a step of it computes as a multiple of the default's."""
    verdict: str


def main(config: SearchGainConfig) -> Mapping[str, object]:
    """Return the figures of winner and default on each data set, and whether the winner is ahead."""
    if config.quick:
        config = config.patched({"data_sets": ["phantom"], "trials": 2, "steps": 8, "seeds": 1})
    names = asked_for("data_sets", config.data_sets, data_sets(config.data))
    winners, ended, met = dict[str, Winner](), dict[Run, Figures](), dict[str, bool]()
    with on_cluster(), reading_data(SearchGainConfig):
        for name in names:
            experiment = experiment_of(config, name)
            data, winners[name] = prepared(experiment), searched(experiment)
            met[f"{name}_winner_is_ahead"] = False
            if winners[name].trial == 0:
                console.print(f"{name}: the sweep's winner is the default, which is not compared with itself.")
                continue
            found = run_all(runs_of(config, experiment, winners[name]), {name: data.path})
            if not 1 / MOST_COMPUTED < computed(found) < MOST_COMPUTED:  # the sweep had been told of a busier machine
                winners[name] = replace(winners[name], cost=winners[name].cost * computed(found))
                found = run_all(runs_of(config, experiment, winners[name]), {name: data.path})
            console.print(table(name, found))
            console.print(sheet(name, found, data, config.folder.expanduser()), highlight=False)
            ended |= found
            met[f"{name}_winner_is_ahead"] = is_ahead(found) and computed(found) < MOST_COMPUTED
    return {
        "winners": {name: asdict(winner) for name, winner in winners.items()},
        "runs": {str(each): asdict(found) for each, found in ended.items()},
        "met": met,
    }


def experiment_of(config: SearchGainConfig, name: str) -> Experiment:
    """Return the sweep of a data set, which starts from the default GAN."""
    small = {"source": {"patients": 12}, "preparation": {"size": 16}} if config.quick else {}
    quarter = math.ceil(config.steps / 4)
    schedule = {"batch_size": config.batch_size, "steps": config.steps, "evaluate_every": quarter}
    shared = {
        "name": name,
        "storage": str(config.folder.expanduser().absolute()),
        "model": {"kind": "gan"},
        "schedule": {**schedule, "log_every": math.ceil(quarter / 5)},  # the first of which tells no rate
        "scaling": {"device": "cpu"},
        "search": {"num_trials": config.trials, "grace_steps": quarter, "narrow": NARROW, "cold": True},
    }
    return Experiment().patched(shared).patched(data_sets(config.data.expanduser().absolute())[name]).patched(small)


def searched(experiment: Experiment) -> Winner:
    """Sweep, or return what the sweep found when it was asked before."""
    file, key = experiment.storage / f"{experiment.name}.json", experiment.model_dump(mode="json", exclude={"storage"})
    if (before := stored(file, key, Winner)) is not None:
        return before
    answer = tune.main(experiment.patched({"resume": "auto"}))
    found = SweepResult.read(Sweep(Path(str(answer["sweep"])), experiment))
    chosen = found.promotable
    assert chosen is not None  # noqa: S101 - else the sweep had raised
    number = chosen.number if chosen.repeats is None else chosen.repeats
    cost = _images_per_s(found, 0) / _images_per_s(found, number)
    winner = Winner(found.folder.name, number, chosen.point, cost, found.verdict)
    keep(file, key, winner)
    return winner


def _images_per_s(found: SweepResult, number: int) -> float:
    """Return how fast a trial and those that repeat it trained, without their evaluations."""
    own = [trial for trial in found.trials if number in {trial.number, trial.repeats}]
    lines = [line for trial in own for line in read(found.folder / TRIALS / trial.name)]
    return statistics.median(float(line[RATE]) for line in lines if RATE in line)


def runs_of(config: SearchGainConfig, experiment: Experiment, winner: Winner) -> list[Run]:
    """Return the trainings that are compared; who computes less in a step takes more of them."""
    steps = {DEFAULT: max(1.0, winner.cost), WINNER: max(1.0, 1 / winner.cost)}
    points: Mapping[str, Mapping[str, Value]] = {DEFAULT: {}, WINNER: winner.point}
    runs = []
    for seed in range(FIRST_SEED, FIRST_SEED + config.seeds):
        for arm, point in points.items():
            taken = round(config.steps * steps[arm])
            schedule = {"steps": taken, "evaluate_every": math.ceil(taken / 4)}
            own = candidate(experiment, point, seed=seed).patched({"schedule": schedule})
            runs.append(Run(experiment.name, arm, seed, own))
    return runs


def computed(found: Ended) -> float:
    """Return how long the winner computed, evaluations included, in units of the default."""
    winners, others = (
        [each.core_minutes for run, each in found.items() if run.arm == arm] for arm in (WINNER, DEFAULT)
    )
    return sum(winners) / sum(others)


def is_ahead(found: Ended) -> bool:
    """Tell whether the winner's mean on test images is less than the default's by more than either's spread."""
    mmds = {run: each.test.get("mmd", math.inf) for run, each in found.items()}
    winners, others = ([mmd for run, mmd in mmds.items() if run.arm == arm] for arm in (WINNER, DEFAULT))
    if len(winners) < 2 or not all(map(math.isfinite, winners)):
        return False
    if not all(map(math.isfinite, others)):
        return True
    spread = max(statistics.stdev(winners), statistics.stdev(others))
    return statistics.mean(winners) < statistics.mean(others) - spread


if __name__ == "__main__":
    run(SearchGainConfig, main)
