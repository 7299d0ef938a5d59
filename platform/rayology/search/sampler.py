"""The samplers: what to try next, given what was tried and how it ranked; pure functions without a state."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from scipy.optimize import Bounds, minimize
from scipy.spatial.distance import cdist
from scipy.special import ndtr, ndtri

from rayology.search.space import Point, Space

__all__ = ["SAMPLERS", "Surrogate", "regret_bound"]

Array = NDArray[np.float64]

STEPS = 30  # of L-BFGS on the hyperparameters
NUM_DRAWS = 128  # points at random among those whose gain is estimated
NUM_LEADERS = 3  # points whose neighbours are among them
NUM_CLIMBS = 3  # rounds in which the neighbours of the most promising are added
LENGTH = -0.65  # log of the length scale that is expected of one dimension, see Surrogate
NOISE = -2.0  # log of the expected variance of the noise, of a unit that is the variance of all losses
JITTER = 1e-6


class Surrogate:
    """What losses are expected of points, from those that were seen: a Gaussian process.

    Dimensions that are closed to a point stand at their defaults. The kernel is Matérn's of order 5/2, with a length
    scale for each dimension; its hyperparameters are the most probable ones under priors, of which that of the length
    scales grows with the root of the number of dimensions (Hvarfner et al. 2024). So a space of sixty dimensions can be
    learned from ten points.
    """

    def __init__(self, space: Space, points: Sequence[Point], losses: Sequence[float]) -> None:
        self._space = space
        self._seen = space.positions(points)
        differences = self._seen[:, None, :] - self._seen[None, :, :]
        self._apart = np.where(space.is_categorical, differences != 0, differences**2)
        self._scores = normal_scores(losses)
        count = len(space.dimensions)
        self._expected = np.array([LENGTH + 0.5 * math.log(count)] * count + [0.0, NOISE])
        self._spread = np.array([1.0] * count + [1.0, 1.5])
        self._fit()

    def predict(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """Return the mean and the standard deviation of the score of each point, without the noise."""
        kernel, _ = self._kernel(
            cdist(*map(self._embedded, (self._space.positions(points), self._seen)), "sqeuclidean")
        )
        explained = (kernel @ self._inverse * kernel).sum(axis=1)
        return kernel @ self._weights, np.sqrt(np.maximum(np.exp(self._log[-2]) - explained, 1e-12))

    @property
    def noise(self) -> float:
        """The standard deviation of the noise, in scores."""
        return float(np.exp(0.5 * self._log[-1]))

    def _fit(self) -> None:
        limits = Bounds(self._expected - 8, self._expected + 8)
        most = {"maxiter": STEPS, "maxfun": STEPS}
        found = minimize(self._evidence, self._expected, jac=True, method="L-BFGS-B", bounds=limits, options=most)
        self._evidence(found.x)

    def _evidence(self, log: Array) -> tuple[float, Array]:
        """Take hyperparameters, and return their negative log posterior and its gradient.

        It is the evidence of Rasmussen & Williams (2006, eq. 5.8 and 5.9) times the priors.
        """
        self._log = log.copy()
        kernel, slope = self._kernel(self._apart @ np.exp(-2 * self._log[:-2]))
        noise = np.exp(self._log[-1]) * np.eye(len(kernel))
        whole = kernel + noise + JITTER * np.eye(len(kernel))
        self._inverse = np.linalg.inv(whole)
        self._weights = self._inverse @ self._scores
        off = (self._log - self._expected) / self._spread
        value = 0.5 * (self._scores @ self._weights + np.linalg.slogdet(whole)[1] + off @ off)
        pull = 0.5 * (self._inverse - np.outer(self._weights, self._weights))
        scales = -2 * np.exp(-2 * self._log[:-2]) * ((pull * slope).ravel() @ self._apart.reshape(-1, len(off) - 2))
        gradient = np.array([*scales, (pull * kernel).sum(), (pull * noise).sum()]) + off / self._spread
        return float(value), gradient

    def _kernel(self, squares: Array) -> tuple[Array, Array]:
        """Return Matérn's kernel of squared distances in units of the length scales, and its slope by them."""
        distance = np.sqrt(5 * squares)
        decay = np.exp(self._log[-2] - distance)
        return (1 + distance + distance**2 / 3) * decay, -5 / 6 * (1 + distance) * decay

    def _embedded(self, positions: Array) -> Array:
        """Return vectors whose squared distances are those of positions; two different categories lie 1 apart."""
        scaled = np.exp(-self._log[:-2])
        columns = [positions * np.where(self._space.is_categorical, 0.0, scaled)]
        for column in np.flatnonzero(self._space.is_categorical):
            numbers = np.arange(len(self._space.dimensions[column].choices))
            columns.append((positions[:, [column]] == numbers) * scaled[column] / math.sqrt(2))
        return np.hstack(columns)


def gaussian_process(
    space: Space, points: Sequence[Point], losses: Sequence[float], generator: np.random.Generator
) -> Point:
    """Return the point that is not among those seen and whose expected gain is largest (Jones et al. 1998, eq. 15).

    The gain is counted from the least mean of a point that was seen: a lucky look lowers no bar.
    """
    surrogate = Surrogate(space, points, losses)
    means, _ = surrogate.predict(points)
    best = float(means.min())
    seen = {frozenset(point.items()) for point in points}

    leaders = [points[index] for index in np.argsort(means, kind="stable")[:NUM_LEADERS]]
    candidates = [space.draw(generator) for _ in range(NUM_DRAWS)]
    ranked: list[tuple[float, Point]] = []
    for _ in range(1 + NUM_CLIMBS):
        candidates += [near for leader in leaders for near in space.neighbours(leader, generator)]
        fresh = {frozenset(point.items()): point for point in candidates}
        new = [point for key, point in fresh.items() if key not in seen]
        seen |= fresh.keys()
        if not new:
            break
        ranked = sorted(
            [*ranked, *zip(_gains(surrogate, new, best).tolist(), new, strict=True)], key=lambda pair: -pair[0]
        )[:NUM_LEADERS]
        leaders, candidates = [point for _, point in ranked], []
    return ranked[0][1] if ranked else space.draw(generator)


def parzen(space: Space, points: Sequence[Point], losses: Sequence[float], generator: np.random.Generator) -> Point:
    """Return what Optuna's TPE chooses (Bergstra et al. 2011), all dimensions that are open together."""
    seed = int(generator.integers(2**32))
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):  # for years now
        sampler = TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=0)
    study = optuna.create_study(sampler=sampler)
    for point, loss in zip(points, losses, strict=True):
        study.add_trial(optuna.create_trial(params=dict(point), distributions=space.distributions(point), value=loss))
    trial = study.ask()
    return space.completed({}, lambda dimension: dimension.suggest(trial))


def at_random(space: Space, points: Sequence[Point], losses: Sequence[float], generator: np.random.Generator) -> Point:
    """Return any point."""
    del points, losses
    return space.draw(generator)


Sampler = Callable[[Space, Sequence[Point], Sequence[float], np.random.Generator], Point]
SAMPLERS: Mapping[str, Sampler] = {"gp": gaussian_process, "tpe": parzen, "random": at_random}
"""By the name that ``search.sampler`` gives them."""


def regret_bound(
    space: Space, points: Sequence[Point], losses: Sequence[float], generator: np.random.Generator
) -> float:
    """Return how much better than the best seen a point may be, in units of the noise (Makarova et al. 2022, eq. 7)."""
    surrogate = Surrogate(space, points, losses)
    drawn = [space.draw(generator) for _ in range(8 * NUM_DRAWS)]
    width = math.sqrt(0.4 * math.log(len(space.dimensions) * len(points) ** 2 * math.pi**2 / 0.6))
    seen, anywhere = surrogate.predict(points), surrogate.predict([*points, *drawn])
    bound = (seen[0] + width * seen[1]).min() - (anywhere[0] - width * anywhere[1]).min()
    return float(bound / surrogate.noise)


def _gains(surrogate: Surrogate, points: Sequence[Point], best: float) -> Array:
    means, deviations = surrogate.predict(points)
    ahead = (best - means) / deviations
    density = np.exp(-0.5 * ahead**2) / math.sqrt(2 * math.pi)
    return np.asarray(deviations * (ahead * ndtr(ahead) + density))


def normal_scores(losses: Sequence[float]) -> Array:
    """Return the normal scores of losses, with a mean of 0 and a variance of 1; equal losses stay equal.

    They depend on the ranks alone, so that one that diverged bends nothing, and units do not count.

    >>> normal_scores([1.0, 3.0, 1e9, 2.0, 1e6]).round(2).tolist()
    [-1.46, 0.0, 1.46, -0.6, 0.6]
    """
    _, which, counts = np.unique(losses, return_inverse=True, return_counts=True)
    normal = ndtri((np.cumsum(counts) - counts / 2) / len(losses))[which]
    return np.asarray((normal - normal.mean()) / max(float(normal.std()), 1e-12))
