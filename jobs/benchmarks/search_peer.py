"""One optimizer chooses configurations of tables, and is told the loss of each (see search.py).

Runs in that library's own environment (see peers.py); its arguments are the arm and the folder of the tables. A
question names a table, a seed and a number of trials, and may hold what runs on other tables found; the answer holds
the configurations in their order, the loss that each was told, and the seconds that this process computed.
"""

# ruff: noqa: PLC0415 - an environment has only one of the libraries

import math
import sys
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from peers import answer
from search_tables import Index, Table, read_table

if TYPE_CHECKING:
    from rayology.search.space import Point, Space

Past = tuple[Sequence[Index], Sequence[float]]
"""The configurations and the losses of another table's run."""
Optimizer = Generator[Index, float, None]
"""Yields what to try next, and is sent its loss."""


def ours(table: Table, seed: int, sampler: str, records: Sequence[Past] = ()) -> Optimizer:
    """Begin as a sweep does, with what others found and points at random, then let the sampler choose."""
    from rayology.config import Choice
    from rayology.experiment import SearchConfig
    from rayology.search.sampler import SAMPLERS
    from rayology.search.space import Dimension, Point, Space

    dimensions = []
    for name, size in table.sizes.items():
        values = [str(value) if name in table.categories else value for value in range(size)]
        dimensions.append(Dimension(name, Choice(*values), default=values[0]))
    space = Space(tuple(dimensions))
    points, losses, starts = list[Point](), list[float](), found_before(space, records)
    while True:
        generator = np.random.default_rng([seed, len(points)])
        if len(points) < len(starts):
            point = starts[len(points)]
        elif len(points) < SearchConfig().startup_trials:
            point = space.draw(generator)
        else:
            point = SAMPLERS[sampler](space, points, losses, generator)
        loss = yield tuple(int(point[name]) for name in table.sizes)
        points.append(point)
        losses.append(loss)


def found_before(space: "Space", records: Sequence[Past]) -> Sequence["Point"]:
    """Return what a sweep would try first that knows of sweeps on other tables, all equally like this one."""
    from rayology.experiment import SearchConfig
    from rayology.search.warm_start import Descriptors, PastTrial, Record, portfolio

    def described(name: str) -> Descriptors:
        return Descriptors(fingerprint=name, size=(1, 1), channels=1, num_classes=0, modality="", num_images=1)

    names = [dimension.name for dimension in space.dimensions]
    kept = []
    for number, (chosen, losses) in enumerate(records):
        trials = []
        for index, loss in zip(chosen, losses, strict=True):
            values = zip(names, space.dimensions, index, strict=True)
            point = {name: dimension.choices[value] for name, dimension, value in values}
            trials.append(PastTrial(point=point, losses=(loss,), curve={}, outcome="finished"))
        record = {"objectives": ("loss",), "steps": 1, "batch_size": 1, "space": (), "trials": tuple(trials)}
        kept.append(Record(name=str(number), dataset=described(str(number)), **record))
    return portfolio(kept, space, described("own"), SearchConfig().portfolio)


def optuna(table: Table, seed: int, sampler: str) -> Optimizer:
    """Let a sampler of Optuna's choose, as it is by default."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
    while True:
        trial = study.ask()
        loss = yield tuple(
            trial.suggest_categorical(name, range(size))
            if name in table.categories
            else trial.suggest_int(name, 0, size - 1)
            for name, size in table.sizes.items()
        )
        study.tell(trial, loss)


def smac(table: Table, seed: int) -> Optimizer:
    """Let the random forest of SMAC3's facade for hyperparameters choose; it plans for 100 trials by default."""
    from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, UniformIntegerHyperparameter
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.runhistory import TrialValue

    space = ConfigurationSpace(seed=seed)
    for name, size in table.sizes.items():
        is_categorical = name in table.categories
        space.add(
            CategoricalHyperparameter(name, range(size))
            if is_categorical
            else UniformIntegerHyperparameter(name, 0, size - 1)
        )
    with TemporaryDirectory() as folder:
        scenario = Scenario(space, output_directory=Path(folder), deterministic=True, seed=seed)
        facade = HyperparameterOptimizationFacade(scenario, _unused, logging_level=False)
        while True:
            asked = facade.ask()
            loss = yield tuple(int(asked.config[name]) for name in table.sizes)
            # It takes logarithms itself, and so wants what is positive.
            facade.tell(asked, TrialValue(cost=math.exp(loss) if table.is_log else loss))


def syne_tune(table: Table, seed: int) -> Optimizer:
    """Let Syne Tune's BORE choose (Tiao et al. 2021)."""
    from syne_tune.config_space import choice, randint
    from syne_tune.optimizer.baselines import BORE
    from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler

    space = {
        name: choice(list(range(size))) if name in table.categories else randint(0, size - 1)
        for name, size in table.sizes.items()
    }
    scheduler = AskTellScheduler(BORE(space, metric="loss", do_minimize=True, random_seed=seed))
    while True:
        asked = scheduler.ask()
        loss = yield tuple(int(asked.config[name]) for name in table.sizes)
        scheduler.tell(asked, {"loss": loss})


def _unused(config: object, seed: int) -> float:
    """Stand where SMAC3 wants a function, though it is told the losses."""
    del config, seed
    return 0.0


ARMS: Mapping[str, Callable[..., Optimizer]] = {
    "ours": partial(ours, sampler="gp"),
    "ours, warm": partial(ours, sampler="gp"),
    "ours, TPE": partial(ours, sampler="tpe"),
    "random": partial(ours, sampler="random"),
    "Optuna TPE": partial(optuna, sampler="TPESampler"),
    "Optuna GP": partial(optuna, sampler="GPSampler"),
    "SMAC3": smac,
    "Syne Tune BORE": syne_tune,
}


def figures(question: Mapping[str, object], *, arm: str, folder: Path) -> dict[str, object]:
    """Try so many configurations of a table."""
    table = read_table(folder, str(question["table"]))
    seed, trials = int(str(question["seed"])), int(str(question["trials"]))
    looks = np.random.default_rng([seed, 0])
    began_at = time.process_time()
    told = {"records": question["records"]} if "records" in question else {}
    optimizer, chosen, losses = ARMS[arm](table, seed, **told), list[Index](), list[float]()
    for _ in range(trials):
        chosen.append(optimizer.send(losses[-1]) if losses else next(optimizer))
        losses.append(table.look(chosen[-1], looks))
    return {"chosen": chosen, "losses": losses, "seconds": time.process_time() - began_at}


if __name__ == "__main__":
    answer(partial(figures, arm=sys.argv[1], folder=Path(sys.argv[2])))
