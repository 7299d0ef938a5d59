"""Who wins: the best of a search are trained again with other seeds, because the best of many noisy looks is lucky."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rayology.experiment import SearchConfig

__all__ = ["Standing", "are_told_apart", "num_repeated", "rank"]

DRAWS = 20_000  # of what the true losses may be
SURE = 0.95  # probability from which on a winner is named


@dataclass(frozen=True)
class Standing:
    """Where a finalist stands after it was trained again."""

    number: int
    """The trial that made it a finalist."""
    count: int
    """How often it was trained again."""
    mean: float
    low: float
    """Bounds of the mean within which the true loss lies with a probability of 95 %; infinite after one training."""
    high: float
    probability: float
    """That it is the best of the finalists."""


def num_repeated(wanted: SearchConfig, num_explored: int | None = None) -> tuple[int, int]:
    """Return how many finalists are trained again, and how often each, after so many trials or all that are wanted."""
    share = wanted.finalists_share
    total = wanted.num_trials if num_explored is None else round(num_explored / (1 - share))
    trainings = math.floor(total * share + 1e-9)
    count = min(wanted.finalists, max(2, trainings // 2)) if trainings > 1 else 0
    return (count, trainings // count) if count > 1 else (0, 0)


def rank(losses: Mapping[int, Sequence[float]]) -> list[Standing]:
    """Rank finalists by the losses of the trainings that repeat them, the best first.

    Losses are normal around each finalist's own, with one variance for all; the finalists' own are normal around a
    common one, so that differences no larger than the noise explains shrink to none (Lindley & Smith 1972). The
    probabilities come from draws of both; the first look, by which a finalist was chosen, counts for nothing.
    """
    losses = {number: each for number, each in losses.items() if len(each)}
    counts = np.array([len(each) for each in losses.values()])
    means = np.array([np.mean(each) for each in losses.values()])
    freedom = int((counts - 1).sum())
    if not freedom:  # nothing tells how noisy a training is
        found = [Standing(number, 1, mean, -math.inf, math.inf, 1 / len(means)) for number, (mean,) in losses.items()]
        return sorted(found, key=lambda standing: standing.mean)
    generator = np.random.default_rng(0)
    within = sum(float(np.var(each)) * len(each) for each in losses.values()) / freedom
    margins = np.quantile(np.abs(generator.standard_t(freedom, DRAWS)), 0.95) * np.sqrt(within / counts)
    errors = within * freedom / generator.chisquare(freedom, (DRAWS, 1)) / counts
    spread = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    between = max(spread - float(np.mean(within / counts)), 0.0)
    kept = between / (between + errors) if between else np.zeros_like(errors)
    true = kept * means + (1 - kept) * means.mean() + np.sqrt(kept * errors) * generator.standard_normal(errors.shape)
    wins = (true == true.min(axis=1, keepdims=True)).astype(np.float64)
    shares = (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0)
    found = [
        Standing(number, int(count), float(mean), float(mean - margin), float(mean + margin), float(share))
        for number, count, mean, margin, share in zip(losses, counts, means, margins, shares, strict=True)
    ]
    return sorted(found, key=lambda standing: (-standing.probability, standing.mean))


def are_told_apart(standings: Sequence[Standing]) -> bool:
    """Tell whether the first of those ranked is the best beyond the noise."""
    return len(standings) > 1 and standings[0].probability >= SURE
