"""A sweep's memory of itself: an Optuna study in a journal, the only truth about what was tried and how it went.

Nothing else is kept of a sweep between two drivers, so one that was killed at any moment goes on as if it had not been.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from rayology.atomic import whole_lines, write_atomic
from rayology.config import path_of
from rayology.errors import ConfigError
from rayology.search.space import Point, Space

__all__ = ["JOURNAL", "TRIALS", "Journal", "Outcome", "Trial", "mend", "trial_name"]

JOURNAL = "optuna-journal.log"
TRIALS = "trials"  # the folder of their folders
LOCK = ".lock"  # how Optuna calls the link by which it locks a journal
SPACE, PORTFOLIO = "space", "portfolio"
POINT, SEED, REPEATS, OUTCOME, SECONDS = "point", "seed", "repeats", "outcome", "seconds"

Outcome = str
"""How a trial ended: finished, stopped, diverged, unfit, rejected or failed; empty while it has not."""


@dataclass(frozen=True)
class Trial:
    """A training of a sweep, as far as it got."""

    number: int
    point: Point
    seed: int
    """The seed of its training."""
    repeats: int | None = None
    """The number of the trial whose point it trains again."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Losses by the first objective after how many steps."""
    losses: tuple[float, ...] = ()
    """Losses by all objectives if it finished."""
    outcome: Outcome = ""
    seconds: float = 0.0
    """How long it took with the driver that saw it end."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """Limits of the search that it is over, and by how much, if it was rejected."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        return trial_name(self.number)

    @property
    def kind(self) -> str:
        """The kind of its model."""
        return str(self.point.get("model.kind", ""))

    @property
    def by_path(self) -> Point:
        """The values of its point by the fields that they set."""
        return {path_of(name): value for name, value in self.point.items()}

    @property
    def step(self) -> int:
        """The step of its last evaluation."""
        return max(self.curve, default=0)


def trial_name(number: int) -> str:
    """Return what a trial, and its folder, is called."""
    return f"trial-{number:04d}"


class Journal:
    """The journal of a sweep in its folder; it is begun when it is first opened."""

    def __init__(self, folder: Path, *, num_objectives: int = 1) -> None:
        self._storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        known = optuna.get_all_study_names(self._storage)  # one, by the name that its folder had first
        if not known:
            directions = ["minimize"] * num_objectives
            optuna.create_study(study_name=folder.name, storage=self._storage, directions=directions)
        self._study = optuna.load_study(study_name=(known or [folder.name])[0], storage=self._storage)

    def pinned(self, space: Space) -> Space:
        """Return the space that the sweep began with; the first time it is the given one.

        Raises:
            ConfigError: the given one lacks a dimension or a value of it, so this version cannot go on with the sweep.
        """
        written = self._study.user_attrs.get(SPACE)
        if written is None and self._study.get_trials(deepcopy=False):
            raise ConfigError(
                "resume: another version of Rayology began the sweep, and wrote no space; start a new one"
            )
        if written is None:
            self._study.set_user_attr(SPACE, space.written)
            return space
        first = Space.read(written)
        known = {dimension.name: dimension for dimension in space.dimensions}
        for dimension in first.dimensions:
            mine = known.get(dimension.name)
            if mine is None or not all(mine.admits(value) for value in dimension.ends):
                found = f"searches it among {mine.mark}" if mine else "has no such field"
                raise ConfigError(
                    f"resume: the sweep began with {dimension.path} among {dimension.mark}, and this version of "
                    f"Rayology {found}; start a new sweep"
                )
        return first

    def portfolio(self, recall: Callable[[], Sequence[Point]]) -> list[Point]:
        """Return what the sweep tries first of what others found, as it was recalled when the sweep began."""
        if PORTFOLIO not in self._study.user_attrs:
            self._study.set_user_attr(PORTFOLIO, [*map(dict, recall())])
        return list(self._study.user_attrs[PORTFOLIO])

    @property
    def space(self) -> list[dict[str, JsonValue]]:
        """The dimensions of the space that the sweep began with, as they are written; none before it is pinned."""
        return list(self._study.user_attrs.get(SPACE, []))

    def trials(self) -> list[Trial]:
        """Return all trials in the order in which they were begun."""
        return [_trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> Trial:
        """Return one trial."""
        return _trial(self._frozen(number))

    def begin(self, space: Space, point: Point, *, seed: int, repeats: int | None = None) -> Trial:
        """Begin a trial of a point."""
        attrs = {POINT: dict(point), SEED: seed} | ({} if repeats is None else {REPEATS: repeats})
        distributions = space.distributions(point)
        self._study.add_trial(  # in one line, where asking for one writes a line a dimension
            optuna.create_trial(
                state=TrialState.RUNNING, params=dict(point), distributions=distributions, user_attrs=attrs
            )
        )
        return self.trials()[-1]

    def running(self) -> list[Trial]:
        """Return the trials that were begun and have not ended."""
        return [trial for trial in self.trials() if not trial.outcome]

    def report(self, number: int, step: int, loss: float) -> None:
        """Note the loss of a running trial after some steps; said again it changes nothing."""
        frozen = self._frozen(number)
        if not frozen.state.is_finished() and step not in frozen.intermediate_values:
            self._storage.set_trial_intermediate_value(frozen._trial_id, step, loss)  # noqa: SLF001 - Optuna's own name

    def end(self, number: int, outcome: Outcome, losses: Sequence[float] = (), *, seconds: float = 0.0) -> None:
        """Note how a trial ended; one that ended already stays as it is."""
        if self._frozen(number).state.is_finished():
            return
        trial = self._live(number)
        trial.set_user_attr(OUTCOME, outcome)
        trial.set_user_attr(SECONDS, round(seconds, 3))
        state = TrialState.COMPLETE if losses else TrialState.FAIL if outcome == "failed" else TrialState.PRUNED
        self._study.tell(trial, list(losses) or None, state=state)

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """End a trial that breaks constraints, each by how much, before it trains."""
        trial = self._live(number)
        for name, value in violations.items():
            trial.set_constraint(name, value)
        self.end(number, "rejected")

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _live(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self._frozen(number)._trial_id)  # noqa: SLF001 - there is no other way back


def mend(folder: Path) -> None:
    """Free a journal from the lock and the torn last line of a driver that was killed; no other may be at work."""
    journal = folder / JOURNAL
    if journal.exists():
        journal.with_name(JOURNAL + LOCK).unlink(missing_ok=True)
        whole = b"".join(whole_lines(journal))
        if len(whole) < journal.stat().st_size:
            write_atomic(journal, whole, mode=0o666)


def _trial(frozen: FrozenTrial) -> Trial:
    attrs = frozen.user_attrs
    has_ended = frozen.state.is_finished()
    return Trial(
        number=frozen.number,
        point=attrs[POINT],
        seed=attrs[SEED],
        repeats=attrs.get(REPEATS),
        curve=frozen.intermediate_values,
        losses=tuple(frozen.values) if frozen.state == TrialState.COMPLETE else (),
        outcome=attrs[OUTCOME] if has_ended else "",
        seconds=attrs.get(SECONDS, 0.0),
        violations=frozen.constraints,
    )
