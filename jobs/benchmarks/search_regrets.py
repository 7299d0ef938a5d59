"""Regrets of searches on tables, and how those of two optimizers differ; pure functions."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from search_tables import Index, Table

from rayology.experiment import SearchConfig
from rayology.search.finalists import num_repeated, rank

__all__ = ["FINALISTS", "MARKS", "Difference", "Place", "difference", "regrets_of"]

MARKS = (0.1, 0.3, 0.5, 0.75, 1.0)  # shares of the budget after which the regret is told
FINALISTS = "finalists"
DRAWS = 100_000  # of Student's t

Place = tuple[str, int]
"""A table and a seed."""
Regrets = Mapping[Place, Mapping[str, float]]
"""An optimizer's, by how many trainings were spent, or that a part of all went to finalists."""


@dataclass(frozen=True)
class Difference:
    """By how much one mean regret is larger than another, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def regrets_of(chosen: Sequence[Index], losses: Sequence[float], table: Table, seed: int) -> dict[str, float]:
    """Return the regret of what looked best after parts of the budget, and of the finalist that won with all of it."""
    regrets = {}
    for count in (round(mark * len(chosen)) for mark in MARKS):
        regrets[str(count)] = table.regret(chosen[int(np.argmin(losses[:count]))])
    count, times = num_repeated(SearchConfig(num_trials=len(chosen)))
    finalists = np.argsort(losses[: len(chosen) - count * times], kind="stable")[:count]
    looks = np.random.default_rng([seed, 1])
    again = {int(number): [table.look(chosen[number], looks) for _ in range(times)] for number in finalists}
    return {**regrets, FINALISTS: table.regret(chosen[rank(again)[0].number])}


def difference(mine: Regrets, others: Regrets, at: tuple[str, str], tables: Collection[str]) -> Difference | None:
    """Return the mean difference over the tables and seeds that both have; None if there are none.

    Tables are given and seeds are drawn, so the interval is Student's over seeds; infinite for a single one.
    """
    pairs: dict[int, list[float]] = {}
    for table, seed in mine.keys() & others.keys():
        if table in tables:
            pairs.setdefault(seed, []).append(mine[table, seed][at[0]] - others[table, seed][at[1]])
    most = max(map(len, pairs.values()), default=0)
    seeds = np.array([np.mean(each) for each in pairs.values() if len(each) == most])
    if not len(seeds):
        return None
    if len(seeds) == 1:
        return Difference(float(seeds[0]), -math.inf, math.inf)
    reach = np.quantile(np.abs(np.random.default_rng(0).standard_t(len(seeds) - 1, DRAWS)), 0.95)
    mean, margin = float(seeds.mean()), float(reach * seeds.std(ddof=1) / math.sqrt(len(seeds)))
    return Difference(mean, mean - margin, mean + margin)
