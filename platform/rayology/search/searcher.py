"""Ray Tune's view of a sweep: a searcher that begins what the planner says, a scheduler that stops what falls behind.

Tune's own state is thrown away after each driver. It lags behind what happened, and a sweep that is resumed from it
repeats trials or loses them; the journal does neither.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypedDict

from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from rayology.search.journal import Journal
from rayology.search.planner import Planner, Rest
from rayology.search.space import Point
from rayology.training.observer import LOSS

__all__ = ["LOSSES", "OUTCOME", "JournalScheduler", "JournalSearcher", "TrialConfig"]

OUTCOME, LOSSES = "outcome", "losses"


class TrialConfig(TypedDict):
    """What Tune tells a trial."""

    number: int
    seed: int
    point: Point


class TuneTrial(Protocol):
    """The part of Tune's trial that is used."""

    trial_id: str


class JournalSearcher(Searcher):  # type: ignore[misc] # Ray ships no types
    """Begin trials as the planner says, and note in the journal how they go."""

    def __init__(self, plan: Callable[[], tuple[Planner, Journal]], *, most: Callable[[], int]) -> None:
        super().__init__()  # no metric: the report that a trial ended has none
        self._plan, self._most = plan, most
        self._opened: tuple[Planner, Journal] | None = None
        self.numbers: dict[str, int] = {}
        """The trials that are going, by the names that Tune gives them."""

    def __getstate__(self) -> dict[str, object]:
        """Leave out what holds an open journal: Tune copies its searchers."""
        return {**self.__dict__, "_opened": None}

    @property
    def planner(self) -> Planner:
        """What decides, opened in the process of the driver."""
        return self._open()[0]

    @property
    def journal(self) -> Journal:
        """Where it is noted."""
        return self._open()[1]

    def suggest(self, trial_id: str) -> TrialConfig | str | None:
        """Begin a trial; None while enough are going or nothing can be decided, FINISHED once nothing is left."""
        if len(self.numbers) >= self._most():
            return None
        trial = self.planner.next()
        if isinstance(trial, Rest):
            return Searcher.FINISHED if trial == Rest.DONE else None
        self.numbers[trial_id] = trial.number
        return TrialConfig(number=trial.number, seed=trial.seed, point=dict(trial.point))

    def on_trial_result(self, trial_id: str, result: Mapping[str, float]) -> None:
        """Note an evaluation."""
        if OUTCOME not in result:
            self.journal.report(self.numbers[trial_id], int(result["step"]), result[LOSS])

    def on_trial_complete(
        self,
        trial_id: str,
        result: Mapping[str, object] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Tune's signature
    ) -> None:
        """Note how a trial ended; one that the scheduler stopped did not report that it finished."""
        number, result = self.numbers.pop(trial_id), result or {}
        outcome = "failed" if error else str(result.get(OUTCOME, "stopped"))
        losses = result.get(LOSSES, ())
        self.journal.end(number, outcome, losses, seconds=self.planner.seconds(number))  # type: ignore[arg-type] # as the trial reported it

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the journal holds everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the journal holds everything."""

    def _open(self) -> tuple[Planner, Journal]:
        if self._opened is None:
            self._opened = self._plan()
        return self._opened


class JournalScheduler(FIFOScheduler):  # type: ignore[misc] # Ray ships no types
    """Stop trials that the planner finds behind."""

    def __init__(self, searcher: JournalSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, controller: object, trial: TuneTrial, result: Mapping[str, float]) -> str:
        """Note an evaluation, and tell Tune whether to go on."""
        del controller
        self._searcher.on_trial_result(trial.trial_id, result)
        searcher = self._searcher
        is_behind = searcher.planner.is_behind(searcher.journal.trial(searcher.numbers[trial.trial_id]))
        return str(self.STOP if is_behind else self.CONTINUE)
