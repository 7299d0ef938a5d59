"""The order of trials: who is ahead, who is dominated, and what a sampler learns of each."""

import math
from collections.abc import Sequence

import numpy as np

from rayology.search.journal import Trial
from rayology.search.space import Point

__all__ = ["best_first", "history", "is_dominated"]


def best_first(finished: Sequence[Trial]) -> list[Trial]:
    """Order trials by the first objective; of several objectives, those that none is ahead of in all come first."""
    return sorted(finished, key=lambda trial: (is_dominated(trial, finished), trial.losses[0], trial.number))


def is_dominated(trial: Trial, others: Sequence[Trial]) -> bool:
    """Tell whether another trial is at least as good in every objective, and better in one."""
    return len(trial.losses) > 1 and any(
        other.losses != trial.losses
        and all(theirs <= mine for theirs, mine in zip(other.losses, trial.losses, strict=True))
        for other in others
    )


def history(tried: Sequence[Trial], generator: np.random.Generator) -> tuple[list[Point], list[float]]:
    """Return the points of trials, and numbers that are larger for what a sampler should avoid.

    Finished ones go by their loss, several objectives weighted at random anew each time (Knowles 2006); behind them
    those that were stopped, the later the better; behind these what came to nothing. One that runs stands in the
    middle, so that its neighbourhood waits for it.
    """
    finished = [trial for trial in tried if trial.losses]
    losses = dict(zip((trial.number for trial in finished), _weighted(finished, generator), strict=True))
    worst = max(losses.values(), default=0.0)
    room = (worst - min(losses.values(), default=0.0)) or 1.0
    behind = {
        trial.number: (1 / trial.step, trial.curve[trial.step]) if trial.outcome == "stopped" else (math.inf, 0.0)
        for trial in tried
        if trial.outcome and not trial.losses
    }
    ranks = sorted(set(behind.values()))
    losses |= {number: worst + room * (1 + ranks.index(key)) / len(ranks) for number, key in behind.items()}
    middle = float(np.median([*losses.values()])) if losses else 0.0
    return [trial.point for trial in tried], [losses.get(trial.number, middle) for trial in tried]


def _weighted(finished: Sequence[Trial], generator: np.random.Generator) -> list[float]:
    """Return the augmented Tchebycheff norm of the ranks of each trial's losses, under weights drawn at random."""
    if not finished:
        return []
    losses = np.array([trial.losses for trial in finished])
    if losses.shape[1] == 1:
        return [*map(float, losses[:, 0])]
    ranks = np.stack([np.unique(each, return_inverse=True)[1] for each in losses.T], axis=1) / len(losses)
    weighted = ranks * generator.dirichlet(np.ones(losses.shape[1]))
    return [*map(float, weighted.max(axis=1) + 0.05 * weighted.sum(axis=1))]
