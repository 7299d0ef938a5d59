"""Sweeps on trials that take no time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rayology.experiment import Experiment
from rayology.search.journal import Journal, Trial, mend
from rayology.search.marks import dimensions
from rayology.search.planner import Planner, Rest
from rayology.search.space import Point, Space

STEPS = 100
PLAIN = {"model.prior.kind": ("normal",), "model.likelihood.kind": ("gaussian",), "model.objective.kind": ("elbo",)}
NARROW = {"model.kind": ("vae",), "model.*.kind": ("dense",), **PLAIN}
ONE_POINT = {
    **NARROW,
    "model.*.width": (128,),
    "model.*.depth": (1,),
    "model.activation": ("silu",),
    "model.latents": (32,),
    "model.objective.beta": (1.0, 1.0),
    "model.objective.free_bits": (0.0,),
    "optimizer.lr": (1e-3, 1e-3),
}
"""All that is searched, pinned."""
Loss = Callable[[Trial], float]
Violations = Callable[[Point], Mapping[str, float]]


def wanted(**search: object) -> Experiment:
    search = {"num_trials": 16, "startup_trials": 4, "grace_steps": 25, "narrow": NARROW, **search}
    return Experiment.model_validate({"schedule": {"steps": STEPS}, "search": search})


def by_rate(trial: Trial) -> float:
    """A loss that learns at one rate best, with a noise that the seed decides."""
    noise = np.random.default_rng([trial.seed, trial.number]).normal()
    return float(abs(np.log(float(trial.point["optimizer.lr"]) / 1e-3)) + 0.05 * noise)


def noise(trial: Trial) -> float:
    """A loss that depends on nothing."""
    return float(np.random.default_rng([trial.seed, trial.number]).normal())


class Killed(Exception):
    """The driver is gone."""


class Sweep:
    """A sweep whose trials run one at a time, and whose driver may be killed between two lines of its journal."""

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        loss: Loss = by_rate,
        violations: Violations = lambda _: {},
        recall: Callable[[Space], Sequence[Point]] = lambda _: (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.experiment, self.folder, self._loss, self._violations = experiment, folder, loss, violations
        self._recall = recall
        self.taken: list[tuple[int, int]] = []

    def run(self, *, most: float = float("inf")) -> list[Trial]:
        """Run until all is done, or until so many lines were written."""
        mend(self.folder)
        journal = Journal(self.folder)
        space = journal.pinned(Space(dimensions(self.experiment)))
        portfolio = journal.portfolio(lambda: self._recall(space))
        planner = Planner(self.experiment, space, journal, portfolio=portfolio, violations=self._violations)
        lines = 0

        def count() -> None:
            nonlocal lines
            lines += 1
            if lines > most:
                raise Killed

        while not isinstance(trial := planner.next(), Rest):
            for step in range(25, STEPS + 1, 25):
                if step in trial.curve:
                    continue
                count()
                journal.report(trial.number, step, self._loss(trial) + 10 / step)
                self.taken.append((trial.number, step))
                count()
                if planner.is_behind(journal.trial(trial.number)):
                    journal.end(trial.number, "stopped", seconds=1)
                    break
            else:
                count()
                journal.end(trial.number, "finished", [self._loss(trial)], seconds=1)
        assert trial == Rest.DONE
        return journal.trials()
