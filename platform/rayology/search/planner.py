"""What a sweep does next: explore, then train its finalists again; the same journal leads to the same trial."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto

import numpy as np

from rayology.errors import SearchError
from rayology.experiment import Experiment
from rayology.metrics import loss_of
from rayology.noise import derive_seed
from rayology.search.finalists import num_repeated
from rayology.search.journal import Journal, Trial
from rayology.search.marks import starting_points
from rayology.search.ranking import best_first, history
from rayology.search.sampler import SAMPLERS, regret_bound
from rayology.search.space import Point, Space

__all__ = ["Planner", "Rest"]

logger = logging.getLogger(__name__)

MOST_REJECTED = 100  # points in a row that break a constraint before the search gives up


class Rest(Enum):
    """Why no trial begins now."""

    WAIT = auto()
    """Trials that run decide what comes next."""
    DONE = auto()
    """The sweep has all that it wants."""


class Planner:
    """Begins one trial after the other, and stops those that fall behind."""

    def __init__(
        self,
        experiment: Experiment,
        space: Space,
        journal: Journal,
        *,
        portfolio: Sequence[Point] = (),
        violations: Callable[[Point], Mapping[str, float]] = lambda _: {},
    ) -> None:
        """Take up what another driver left.

        ``portfolio`` is tried after the experiment as it stands, and before each other kind of each union.
        ``violations`` tells by how much a point breaks which constraint.
        """
        self._experiment, self._wanted = experiment, experiment.search
        self._space, self._journal, self._violations = space, journal, violations
        own, *kinds = starting_points(experiment)
        starts = map(space.admitted, [own, *portfolio, *kinds])
        self._starts = [start for start in starts if start is not None]
        self._orphans = journal.running()
        self._forgiven = {trial.number for trial in journal.trials() if trial.outcome == "failed"}
        self._began_at = time.monotonic()
        self._handed_out_at: dict[int, float] = {}
        self._said: set[str] = set()

    def next(self) -> Trial | Rest:
        """Return the next trial, which counts as running from now on, or why there is none.

        Raises:
            SearchError: of many points in a row, none keeps to the constraints, and nothing was trained.
        """
        found = self._next()
        if isinstance(found, Trial):
            self._handed_out_at[found.number] = time.monotonic()
        return found

    def seconds(self, number: int) -> float:
        """Return how long ago a trial was handed out."""
        return time.monotonic() - self._handed_out_at[number]

    def _next(self) -> Trial | Rest:
        while self._orphans:  # what the driver that was lost would have done with them
            orphan = self._orphans.pop(0)
            if orphan.repeats is None and not orphan.curve and (violations := self._violations(orphan.point)):
                self._journal.reject(orphan.number, violations)
            elif self.is_behind(orphan):
                self._journal.end(orphan.number, "stopped")
            else:
                return orphan
        trials = self._counted()
        if not self._has_explored(trials) and (trial := self._next_explored()):
            return trial
        return self._next_repeated(trials)

    def is_behind(self, trial: Trial) -> bool:
        """Tell whether a trial is not among the best of the last rung that it came to, as ASHA asks (Li et al. 2020).

        It is asked again at each evaluation, with the trials that have come to that rung since. Only those of its own
        kind count: a GAN draws nothing yet where a VAE has learned most of what it will.
        """
        wanted, last = self._wanted, self._experiment.schedule.steps
        if trial.repeats is not None or not wanted.grace_steps <= trial.step < last:
            return False
        rung = wanted.grace_steps
        while rung * wanted.reduction_factor <= trial.step:
            rung *= wanted.reduction_factor
        counted = (each for each in self._counted() if each.repeats is None and each.kind == trial.kind)
        others = (each for each in counted if each.number != trial.number)
        losses = [loss for each in others if (loss := _loss_at(each, rung)) < math.inf]
        return bool(losses) and _loss_at(trial, rung) > float(np.quantile(losses, 1 / wanted.reduction_factor))

    def _counted(self) -> list[Trial]:
        """Return all trials but those that failed under an earlier driver, which are tried again."""
        return [trial for trial in self._journal.trials() if trial.number not in self._forgiven]

    def _has_explored(self, trials: Sequence[Trial]) -> bool:
        """Tell whether the part of the budget that is for new points is used up, or the target reached."""
        wanted = self._wanted
        explored = [trial for trial in trials if trial.repeats is None and trial.outcome != "rejected"]
        if wanted.finish or len(explored) >= wanted.num_trials - math.prod(num_repeated(wanted)):
            return True
        kept = wanted.finalists_share if math.prod(num_repeated(wanted)) else 0.0
        if self._is_spent(share=1 - kept):
            return True
        finished = [trial for trial in explored if trial.losses]
        latest = [trial.outcome for trial in trials if trial.repeats is None][-MOST_REJECTED:]
        if latest == ["rejected"] * MOST_REJECTED and any(trial.losses or not trial.outcome for trial in explored):
            self._say(f"The last {MOST_REJECTED} models keep to no limit: the search ends with what was trained.")
            return True
        goal = -math.inf if wanted.target is None else loss_of(wanted.objective, wanted.target)
        return any(trial.losses[0] <= goal for trial in finished) or self._is_settled(finished)

    def _is_spent(self, *, share: float) -> bool:
        """Tell whether a share of the hours is used up, those of trials that run included."""
        wanted, spent_s = self._wanted, time.monotonic() - self._began_at
        took_s = (
            trial.seconds if trial.outcome else self.seconds(trial.number)
            for trial in self._journal.trials()
            if trial.outcome or trial.number in self._handed_out_at
        )
        worked_s = sum(took_s) * self._experiment.scaling.num_workers
        return any(
            limit_h is not None and used_s >= 3600 * limit_h * share
            for used_s, limit_h in ((spent_s, wanted.hours), (worked_s, wanted.worker_hours))
        )

    def _is_settled(self, finished: Sequence[Trial]) -> bool:
        """Tell whether no point can be better than the best seen by more than the noise."""
        if not self._wanted.terminate or len(finished) < max(10, self._wanted.startup_trials):
            return False
        generator = self._generator("terminator", len(finished))
        points, losses = [trial.point for trial in finished], [trial.losses[0] for trial in finished]
        return regret_bound(self._space, points, losses, generator) < 1

    def _next_explored(self) -> Trial | None:
        """Begin the trial of a point that keeps to the constraints; those that do not are noted as rejected.

        None if many in a row are, but others were trained or run: the search ends with these.
        """
        least: dict[str, float] = {}
        for _ in range(MOST_REJECTED):
            point = self._proposed(self._counted())
            violations = self._violations(point)
            trial = self._journal.begin(self._space, point, seed=self._experiment.seed)
            if not violations:
                return trial
            self._journal.reject(trial.number, violations)
            least = {name: min(over, least.get(name, over)) for name, over in {**least, **violations}.items()}
        limits = ", ".join(f"search.{name} (the nearest is over by {over:.4g})" for name, over in sorted(least.items()))
        found = f"none of {MOST_REJECTED} models in a row keeps to {limits}"
        if any(trial.losses or not trial.outcome for trial in self._counted()):
            self._say(f"The search ends: {found}.")
            return None
        raise SearchError(f"{found}; start a sweep with a higher limit, or narrowed to smaller models")

    def _proposed(self, trials: Sequence[Trial]) -> Point:
        """Return a starting point that was not tried, or what the sampler makes of those that were."""
        tried = [trial for trial in trials if trial.repeats is None]
        starts = self._starts[: self._wanted.most_starts]
        untried = (point for point in starts if all(trial.point != point for trial in tried))
        if (start := next(untried, None)) is not None:
            return start
        generator = self._generator("trial", 1 + max((trial.number for trial in trials), default=-1))
        if len(tried) < self._wanted.startup_trials:
            return self._space.draw(generator)
        points, losses = history(tried, generator)
        return SAMPLERS[self._wanted.sampler](self._space, points, losses, generator)

    def _next_repeated(self, trials: Sequence[Trial]) -> Trial | Rest:
        """Train each finalist again with another seed, all of them once before any twice.

        While trials of new points still run, those begin that are finalists whatever comes of these: of several
        objectives nobody is that.
        """
        explored = [trial for trial in trials if trial.repeats is None and trial.outcome != "rejected"]
        has_all = len(explored) >= self._wanted.num_trials - math.prod(num_repeated(self._wanted))
        count, times = num_repeated(self._wanted, None if has_all else len(explored))
        known = {(trial.repeats, trial.seed) for trial in trials}
        running = sum(not trial.outcome for trial in explored)
        sure = 0 if running and self._wanted.tradeoffs else max(count - running, 0)
        finalists = best_first([trial for trial in explored if trial.losses])[:sure]
        if self._is_spent(share=1.0):
            return Rest.DONE
        if not running and 1 < len(finalists) < count:  # few finished: each is trained more often
            times = count * times // len(finalists)
        for turn in range(min(times, 1) if running else times):
            for finalist in finalists:
                seed = derive_seed(self._experiment.seed, "repeat", finalist.number, turn) % 2**32
                if (finalist.number, seed) not in known:
                    return self._journal.begin(self._space, finalist.point, seed=seed, repeats=finalist.number)
        return Rest.WAIT if running else Rest.DONE

    def _say(self, sentence: str) -> None:
        """Warn, of each thing once."""
        if sentence not in self._said:
            logger.warning("%s", sentence)
            self._said.add(sentence)

    def _generator(self, purpose: str, number: int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._experiment.seed, purpose, number) % 2**32)


def _loss_at(trial: Trial, rung: int) -> float:
    """Return the loss of the first evaluation at or after a rung; infinite if there was none."""
    step = min((step for step in trial.curve if step >= rung), default=None)
    return math.inf if step is None else trial.curve[step]
