"""Replay searches on pools of trainings of our own: how much of random's computing reaches what random reaches.

python jobs/benchmarks/search_pools.py

A pool is what a sweep at random left in its store (``pools/*.yaml`` say how): points of a conditional space with the
losses after each part of a training, the best of them trained three times. The one that is searched holds 100 VAEs on
MNIST; from another, of 32 on PneumoniaMNIST, a warm search starts. A search is the product's own, ASHA
included, but that it may only choose members which it has not tried: of a Gaussian process the one with the largest
expected gain, of TPE the one nearest to its choice. It sees one training of each, and is judged by the mean of all.
"""

import gzip
import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import optuna
from numpy.typing import NDArray
from pydantic import PositiveInt
from rich.table import Table

from rayology.command_line import load
from rayology.config import Config
from rayology.experiment import Experiment
from rayology.job import run
from rayology.progress import console, progress_bar
from rayology.search.journal import Journal
from rayology.search.planner import Planner, Rest
from rayology.search.space import Point, Space
from rayology.search.warm_start import PastTrial, Record, portfolio

POOLS = Path(__file__).parent / "pools"
SIBLINGS = {"mnist-vae": ("pneumoniamnist-vae",)}
"""The pools, and for each the sweeps on other datasets from which a warm search starts."""
RANDOM, OURS, WARM = "random", "ours", "ours, warm"
SEARCHES: Mapping[str, Mapping[str, object]] = {
    OURS: {},
    WARM: {},
    "ours, none stopped": {"grace_steps": 2**20},
    "TPE": {"sampler": "tpe"},
    "random, some stopped": {"sampler": "random"},
}
"""What differs from a sweep's defaults."""
MOST = {OURS: 0.5, WARM: 0.2}  # of random's computing
DRAWS = 50  # trainings at random that set the level
REPLAYS_OF_RANDOM = 2000


class SearchPoolsConfig(Config):
    """How long to measure."""

    replays: PositiveInt = 50
    """Searches of each kind on each pool."""
    quick: bool = False
    """Four searches of ours, cold and warm: it shows that the benchmark runs."""


@dataclass(frozen=True)
class Member:
    """A point and its trainings."""

    point: Point
    looks: tuple[PastTrial, ...]

    @property
    def truth(self) -> float:
        """The mean loss of its trainings; infinite if one came to nothing."""
        return float(np.mean([look.losses[0] if look.losses else math.inf for look in self.looks]))


@dataclass(frozen=True)
class Untried(Space):
    """The points of a pool that a search has not tried."""

    points: dict[frozenset[tuple[str, object]], Point] = field(default_factory=dict)

    def draw(self, generator: np.random.Generator) -> Point:
        """Draw one at random."""
        return [*self.points.values()][generator.integers(len(self.points))]

    def neighbours(self, point: Point, generator: np.random.Generator) -> list[Point]:
        """Return them all."""
        del point, generator
        return [*self.points.values()]

    def completed(self, values: Point, missing: object) -> Point:
        """Return the one that is nearest to what another space would make of the values."""
        wanted = super().completed(values, missing)  # type: ignore[arg-type] # passed on
        left = [*self.points.values()]
        apart = np.abs(self.positions(left) - self.positions([wanted]))
        return left[int(np.where(self.is_categorical, apart != 0, apart).sum(axis=1).argmin())]


@dataclass(frozen=True)
class Pool:
    """Members, and how they were trained."""

    name: str
    record: Record
    experiment: Experiment

    @classmethod
    def read(cls, name: str) -> "Pool":
        """Read a pool in the folder of this file."""
        return cls(name, record(name), load(Experiment, [str(POOLS / f"{name.rpartition('-')[2]}.yaml")]))

    def portfolio(self) -> list[Point]:
        """Return the members that a sweep would start with whose store held the records of the siblings."""
        siblings, space = [*map(record, SIBLINGS[self.name])], Space.read(self.record.space)
        members, count = [member.point for member in self.members()], self.experiment.search.portfolio
        return portfolio(siblings, space, self.record.dataset, count, among=members)

    def members(self) -> list[Member]:
        """Return a member for each point."""
        looks = dict[frozenset[tuple[str, object]], list[PastTrial]]()
        for trial in self.record.trials:
            looks.setdefault(frozenset(trial.point.items()), []).append(trial)
        return [Member(each[0].point, tuple(each)) for each in looks.values()]

    @property
    def parts(self) -> int:
        """Number of evaluations of a training, by which computing is counted."""
        return max(len(trial.curve) for trial in self.record.trials)

    def regret(self, truth: float) -> float:
        """Return how far a loss is from the best, where 1 is the median of all."""
        truths = [member.truth for member in self.members()]
        return (truth - min(truths)) / (float(np.median(truths)) - min(truths))


def main(config: SearchPoolsConfig) -> Mapping[str, object]:
    """Return the share of random's computing after which searches are as good on average, for each pool."""
    searches = {name: each for name, each in SEARCHES.items() if not config.quick or name in MOST}
    replays = 4 if config.quick else config.replays
    figures, met = dict[str, object](), dict[str, bool]()
    for name in SIBLINGS:
        pool = Pool.read(name)
        at_random = by_chance(pool)
        level = float(at_random[-1])
        shown = Table("search", *(f"after {part} trainings" for part in (5, 10, 25, 50)), "computing", title=name)
        shown.add_row(RANDOM, *regrets(pool, at_random), "100 %")
        shares = {}
        for search, differing in searches.items():
            mean = replayed(pool, search, differing, replays).mean(axis=0)
            reached = np.flatnonzero(mean <= level)
            shares[search] = (int(reached[0]) + 1) / len(mean) if len(reached) else math.inf
            shown.add_row(search, *regrets(pool, mean), f"{100 * shares[search]:.0f} %")
        console.print(shown)
        figures[name] = {"level": level, "shares_of_random": shares}
        met |= {f"{name}: {search}": shares[search] <= most for search, most in MOST.items()}
    return {"replays": replays, "pools": figures, "met": met}


def record(name: str) -> Record:
    """Read what a sweep left."""
    return Record.model_validate_json(gzip.decompress((POOLS / f"{name}.json.gz").read_bytes()))


def regrets(pool: Pool, curve: NDArray[np.float64]) -> list[str]:
    """Return the regrets to show."""
    return [f"{pool.regret(float(curve[part * pool.parts - 1])):.3f}" for part in (5, 10, 25, 50)]


def by_chance(pool: Pool) -> NDArray[np.float64]:
    """Return the mean true loss of the best so far after each part of trainings at random."""
    members, generator = pool.members(), np.random.default_rng(0)
    truths, curves = np.array([member.truth for member in members]), []
    for _ in range(REPLAYS_OF_RANDOM):
        order = generator.permutation(len(members))[:DRAWS]
        seen = [look(members[number], generator) for number in order]
        losses = np.array([each.losses[0] if each.losses else math.inf for each in seen])
        best = [order[int(np.argmin(losses[: count + 1]))] for count in range(DRAWS)]
        curves.append(np.repeat(truths[best], pool.parts))
    return np.asarray(np.mean(_finite(np.array(curves)), axis=0))


def look(member: Member, generator: np.random.Generator) -> PastTrial:
    """Return one of a member's trainings."""
    return member.looks[generator.integers(len(member.looks))]


def replayed(pool: Pool, search: str, differing: Mapping[str, object], count: int) -> NDArray[np.float64]:
    """Return the true loss of the best so far after each part of each replay."""
    curves, starts = list[NDArray[np.float64]](), pool.portfolio() if search == WARM else []
    with ProcessPoolExecutor() as workers, progress_bar("replays") as bar:
        tasks = [workers.submit(replay, pool, differing, starts, seed) for seed in range(count)]
        for number, task in enumerate(tasks):
            bar.advance(number, count, f"{pool.name}, {search}")
            curves.append(task.result())
    return _finite(np.array(curves))


def replay(pool: Pool, differing: Mapping[str, object], starts: Sequence[Point], seed: int) -> NDArray[np.float64]:
    """Search once, until as much was computed as random may."""
    logging.getLogger("optuna").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    members = {frozenset(member.point.items()): member for member in pool.members()}
    untried = Untried(Space.read(pool.record.space).dimensions, {key: each.point for key, each in members.items()})
    first = min(step for trial in pool.record.trials for step in trial.curve)
    wanted = {"sampler": "gp", "num_trials": len(members), "finalists": 0, "grace_steps": first}
    experiment = pool.experiment.patched({"seed": seed, "search": {**wanted, **differing}})
    looks, best, found = np.random.default_rng([seed, 1]), (math.inf, math.inf), list[float]()
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder))
        planner = Planner(experiment, untried, journal, portfolio=starts)
        while len(found) < DRAWS * pool.parts and not isinstance(trial := planner.next(), Rest):
            member = members[frozenset(trial.point.items())]
            del untried.points[frozenset(trial.point.items())]
            seen = look(member, looks)
            for step, loss in sorted(seen.curve.items()):
                journal.report(trial.number, step, loss)
                found.append(best[1])
                if planner.is_behind(journal.trial(trial.number)):
                    journal.end(trial.number, "stopped")
                    break
            else:
                journal.end(trial.number, seen.outcome, seen.losses)
                if seen.losses:
                    best = min(best, (seen.losses[0], member.truth))
                found[-1] = best[1]
    left = DRAWS * pool.parts - len(found)  # all members were tried
    return np.array([*found, *[best[1]] * left][: DRAWS * pool.parts])


def _finite(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put the largest loss in place of those before any training has ended."""
    return np.where(np.isfinite(curves), curves, curves[np.isfinite(curves)].max())


if __name__ == "__main__":
    run(SearchPoolsConfig, main)
