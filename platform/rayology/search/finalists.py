"""Who wins: the best of a search are trained again with other seeds, because the best of many noisy looks is lucky."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rayology.experiment import SearchConfig

__all__ = ["Standing", "are_told_apart", "num_repeated", "rank"]

DRAWS = 4_000  # of what the true losses may be
SPREADS = 40  # of the finalists' own losses that are weighed in each draw
LEAST_REPEATED = 2  # trainings, if nothing else is left to do
SURE = 0.95  # probability from which on a winner is named


@dataclass(frozen=True)
class Standing:
    """Where a finalist stands after it was trained again."""

    number: int
    """The trial that made it a finalist."""
    count: int
    """How many of the trainings that repeat it came to something."""
    tried: int
    """How often it was trained again."""
    mean: float
    low: float
    """Bounds of the mean within which the true loss lies with a probability of 95 %; infinite after one training."""
    high: float
    probability: float
    """That it is the best of the finalists."""


def num_repeated(wanted: SearchConfig, num_explored: int | None = None) -> tuple[int, int]:
    """Return how many finalists are trained again, and how often each, after so many trials or all that are wanted.

    Their share of a small budget may be too small for two; a sweep that only finishes trains two all the same.
    """
    share = wanted.finalists_share
    total = wanted.num_trials if num_explored is None else round(num_explored / (1 - share))
    trainings = max(math.floor(total * share + 1e-9), LEAST_REPEATED if wanted.finish and share else 0)
    count = min(wanted.finalists, max(2, trainings // 2)) if trainings > 1 else 0
    return (count, trainings // count) if count > 1 else (0, 0)


def rank(losses: Mapping[int, Sequence[float]]) -> list[Standing]:
    """Rank finalists by the losses of the trainings that repeat them, the best first; inf is one that came to nothing.

    Losses are normal around each finalist's own, with one variance for all; the finalists' own are normal around a
    common one, with a spread that is half-Cauchy in units of the noise (Gelman 2006, section 7). So differences no
    larger than the noise explains shrink. The probabilities come from draws of all of these; the first look, by which a
    finalist was chosen, counts for nothing. One that does not always train well stands behind those that do.
    """
    finished = {number: [loss for loss in each if math.isfinite(loss)] for number, each in losses.items()}
    is_sound = {number: len(each) == len(losses[number]) for number, each in finished.items()}
    sound, others = (
        _ranked({number: each for number, each in finished.items() if each and is_sound[number] is whole})
        for whole in (True, False)
    )
    if len(sound) > 1:
        others = [replace(standing, probability=0.0) for standing in others]
    elif sound:  # nothing tells how much better one of the others may be when it trains well
        sound, others = (
            [replace(standing, probability=1 / len(losses)) for standing in each] for each in (sound, others)
        )
    return [replace(standing, tried=len(losses[standing.number])) for standing in [*sound, *others]]


def _ranked(losses: Mapping[int, Sequence[float]]) -> list[Standing]:
    counts = np.array([len(each) for each in losses.values()])
    means = np.array([np.mean(each) for each in losses.values()])
    freedom = int((counts - 1).sum())
    if not freedom:  # nothing tells how noisy a training is
        found = [
            Standing(number, 1, 1, mean, -math.inf, math.inf, 1 / len(means)) for number, (mean,) in losses.items()
        ]
        return sorted(found, key=lambda standing: standing.mean)
    within = sum(float(np.var(each)) * len(each) for each in losses.values()) / freedom
    margins = stdtrit(freedom, 0.975) * np.sqrt(within / counts)
    true = _drawn(means, counts, within, freedom)
    wins = (true == true.min(axis=1, keepdims=True)).astype(np.float64)
    shares = (wins / wins.sum(axis=1, keepdims=True)).mean(axis=0)
    found = [
        Standing(number, int(count), int(count), float(mean), float(mean - margin), float(mean + margin), float(share))
        for number, count, mean, margin, share in zip(losses, counts, means, margins, shares, strict=True)
    ]
    return sorted(found, key=lambda standing: (-standing.probability, standing.mean))


def _drawn(means: NDArray[np.float64], counts: NDArray[np.int64], within: float, freedom: int) -> NDArray[np.float64]:
    """Draw what the true losses may be, as (draw, finalist); see Gelman et al. (2013), section 5.4."""
    generator = np.random.default_rng(0)
    within = max(within, 1e-12 * (float(np.var(means)) or 1.0))  # of finalists that repeat themselves to the last digit
    noise = within * freedom / generator.chisquare(freedom, DRAWS)
    errors = noise[:, None] / counts
    spreads = noise[:, None] * np.tan(0.5 * math.pi * (np.arange(SPREADS) + 0.5) / SPREADS) ** 2
    weights = 1 / (spreads[:, :, None] + errors[:, None, :])
    centres = (weights * means).sum(axis=2) / weights.sum(axis=2)
    evidence = np.log(weights).sum(axis=2) - np.log(weights.sum(axis=2))
    evidence -= (weights * (means - centres[:, :, None]) ** 2).sum(axis=2)
    chosen = (0.5 * evidence + generator.gumbel(size=evidence.shape)).argmax(axis=1)
    at = np.arange(DRAWS), chosen
    centre = centres[at] + generator.standard_normal(DRAWS) / np.sqrt(weights[at].sum(axis=1))
    kept = spreads[at][:, None] * weights[at]
    own = kept * means + (1 - kept) * centre[:, None]
    return np.asarray(own + np.sqrt(kept * errors) * generator.standard_normal(errors.shape))


def are_told_apart(standings: Sequence[Standing]) -> bool:
    """Tell whether the first of those ranked is the best beyond the noise."""
    return len(standings) > 1 and standings[0].probability >= SURE
