"""What a sweep found: who won and how surely, a table, and the model to publish."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from rayology.bundle import Bundle, annotated
from rayology.errors import SearchError
from rayology.experiment import Experiment
from rayology.gates import refusals
from rayology.metrics import METRICS, WORST, figure_of
from rayology.search.finalists import Standing, are_told_apart, num_repeated, rank
from rayology.search.journal import TRIALS, Journal, Trial, trial_name
from rayology.search.ranking import best_first
from rayology.search.space import Space
from rayology.store import Store
from rayology.training.promotion import Promotion, promote_if_better
from rayology.training.run import BUNDLE, Run

__all__ = ["Best", "SweepResult", "as_figure", "promote_best", "running_table", "table", "with_margin", "write_table"]

MOST_RUNNING = 16  # trials in the table of those that run


@dataclass(frozen=True)
class SweepResult:
    """What stands in a sweep's journal."""

    folder: Path
    experiment: Experiment
    space: Space
    """What it searches since it began."""
    trials: tuple[Trial, ...]

    @classmethod
    def read(cls, sweep: Run) -> "SweepResult":
        """Read it from the journal of a sweep, ended or not."""
        journal = Journal(sweep.folder, num_objectives=1 + len(sweep.experiment.search.tradeoffs))
        return cls(sweep.folder, sweep.experiment, Space.read(journal.space), tuple(journal.trials()))

    @cached_property
    def explored(self) -> list[Trial]:
        """Trials of points of their own: those that finished, the best first, then the others."""
        own = [trial for trial in self.trials if trial.repeats is None]
        return [*best_first([trial for trial in own if trial.losses]), *(trial for trial in own if not trial.losses)]

    @cached_property
    def standings(self) -> list[Standing]:
        """The finalists, the best first; none if no budget was left to train any again."""
        numbers = dict.fromkeys(trial.repeats for trial in self.trials if trial.repeats is not None)
        ended = [trial for trial in self.trials if trial.outcome not in {"", "failed"}]
        return rank({number: [_figure(trial) for trial in ended if trial.repeats == number] for number in numbers})

    def repeated(self, number: int) -> list[Trial]:
        """Return the finished trainings that repeat a finalist, the best first."""
        return best_first([trial for trial in self.trials if trial.repeats == number and trial.losses])

    @property
    def num_ended(self) -> int:
        """How many trials have ended, without those that were rejected before they began or whose process was lost."""
        return sum(trial.outcome not in {"", "rejected", "failed"} for trial in self.trials)

    def figure(self, trial: Trial) -> float:
        """Return the objective of a trial, of its last evaluation if it did not finish; NaN if it has none."""
        loss = trial.losses[0] if trial.losses else trial.curve.get(trial.step, WORST)
        return as_figure(self.experiment.search.objective, loss)

    @property
    def is_told_apart(self) -> bool:
        """Whether the winner is the best finalist beyond the noise."""
        return are_told_apart(self.standings)

    @property
    def candidates(self) -> list[Trial]:
        """Trainings that may be published, in the order in which they should be: those of the winner come first."""
        repeats = [trial for standing in self.standings for trial in self.repeated(standing.number)]
        return [*repeats, *(trial for trial in self.explored if trial.losses)]

    @property
    def verdict(self) -> str:
        """A sentence on who won, by how much, and how surely."""
        objective, standings = self.experiment.search.objective, self.standings
        if not standings and any(trial.repeats is not None and trial.outcome for trial in self.trials):
            return "No training that repeats a finalist came to anything: nobody is told apart."
        if not standings:
            wanted = self.experiment.search
            is_small = wanted.finalists > 1 and wanted.finalists_share > 0 and not any(num_repeated(wanted))
            least = math.ceil(2 / wanted.finalists_share) if is_small else 0
            advice = f"; with search.num_trials of {least} two finalists are trained again" if is_small else ""
            return f"Each was trained once, so how far {objective} is luck is not known: nobody is told apart{advice}."
        first, *others = standings
        name = trial_name(first.number)
        seeds = "1 fresh seed" if first.count == 1 else f"{first.count} fresh seeds"
        spread = f"{objective} {with_margin(objective, first)} over {seeds}"
        if first.tried > first.count:
            spread += f" of {first.tried}, of which the others came to nothing"
        if not others:
            return f"{name}: {spread}; it is the only finalist that finished, so it is told apart from nobody."
        if first.tried == first.count and others[0].tried > others[0].count:
            return f"{name}: {spread}; it is the only finalist that trained well each time: they are not told apart."
        ahead = others[0].mean - first.mean
        next_one = f"{trial_name(others[0].number)} by {abs(ahead):.3g}"
        place = f"ahead of {next_one}" if ahead >= 0 else f"behind {next_one}, whose mean is less sure"
        found = (
            f"{name} has {spread}, {place}; it is the best of "
            f"{len(standings)} finalists with a probability of {first.probability:.0%}"
        )
        return f"{found}." if self.is_told_apart else f"{found}: they are not told apart."

    @property
    def promotable(self) -> Trial | None:
        """The first of the candidates that no gate refuses."""
        return next((trial for trial in self.candidates if not self.refusals_of(trial)), None)

    def refusals_of(self, trial: Trial) -> list[str]:
        """Say why a finished trial may not be promoted; nothing if it may."""
        bundle = self.bundle(trial)
        return refusals(Bundle.load(bundle).manifest) if bundle.is_dir() else ["its bundle is not there any more"]

    def bundle(self, trial: Trial) -> Path:
        """Return the path of a trial's bundle if it finished."""
        return self.folder / TRIALS / trial.name / BUNDLE


@dataclass(frozen=True)
class Best:
    """The best training that may be promoted, and what became of it."""

    bundle: Bundle
    promotion: Promotion


def as_figure(name: str, loss: float) -> float:
    """Return what a loss stands for, as people read it; NaN for one that was not finite."""
    return math.nan if loss >= WORST else figure_of(name, loss)


def table(found: SweepResult) -> Table:
    """Lay the trials out for people, the best first, with the choices in which those that had them differ."""
    search = found.experiment.search
    values: dict[str, set[object]] = {}
    for trial in found.explored:
        for path, value in trial.by_path.items():
            values.setdefault(path, set()).add(value)
    differing = sorted((name for name in values if len(values[name]) > 1), key=lambda name: ("kind" not in name, name))
    better = "lower" if METRICS[search.objective].direction == "min" else "higher"
    columns = ("trial", f"{search.objective} ({better} is better)", "again", *search.tradeoffs, "step", "outcome")
    laid_out = Table(*columns, Column("choices that differ", ratio=1), expand=True)
    standings = {standing.number: standing for standing in found.standings}
    for trial in found.explored:
        point = trial.by_path
        words = ", ".join(
            f"{name.removeprefix('model.')} {_shortened(point[name])}" for name in differing if name in point
        )
        again = with_margin(search.objective, standings[trial.number]) if trial.number in standings else ""
        weighed = [
            f"{as_figure(name, loss):.4g}"
            for name, loss in zip(search.tradeoffs, trial.losses[1:], strict=bool(trial.losses))
        ] or [""] * len(search.tradeoffs)
        figure, outcome = _figure_text(found, trial), trial.outcome or "running"
        if trial.violations:
            outcome += f", over {', '.join(sorted(trial.violations))}"
        laid_out.add_row(trial.name, figure, again, *weighed, str(trial.step), outcome, words)
    return laid_out


def running_table(found: SweepResult) -> Table:
    """Lay out the trials that run, the newest last, and the best that has finished."""
    steps = found.experiment.schedule.steps
    laid_out = Table("trial", "kind", "step", found.experiment.search.objective)
    for trial in [trial for trial in found.trials if not trial.outcome][-MOST_RUNNING:]:
        again = "" if trial.repeats is None else f", {trial_name(trial.repeats)} again"
        laid_out.add_row(f"{trial.name}{again}", trial.kind, f"{trial.step} of {steps}", _figure_text(found, trial))
    laid_out.add_section()
    for best in [trial for trial in found.explored if trial.losses][:1]:
        laid_out.add_row(f"{best.name}, the best so far", best.kind, best.outcome, _figure_text(found, best))
    return laid_out


def write_table(found: SweepResult, path: Path) -> None:
    """Write the table and the verdict as text."""
    with path.open("w", encoding="utf-8") as file:
        console = Console(file=file, width=200)
        console.print(table(found))
        console.print(found.verdict, soft_wrap=True)


def promote_best(found: SweepResult) -> Best:
    """Publish the best training that passes the gates, and make it the champion if it is better than that.

    Raises:
        SearchError: no trial finished, or each of them is refused by a gate.
    """
    experiment, chosen = found.experiment, found.promotable
    if chosen is None:
        refused = [f"{trial.name}: {'; '.join(found.refusals_of(trial))}" for trial in found.candidates]
        none = f"none of {len(found.trials)} trials finished; see the sweep's folder for why"
        raise SearchError("; ".join(refused) or none)
    ahead = found.candidates.index(chosen)
    passed_over = f" It is {chosen.name}: {ahead} ahead of it may not be promoted." if ahead else ""
    bundle = Bundle.load(found.bundle(chosen))
    bundle = annotated(bundle, found.folder / "winner", "How it was chosen", found.verdict + passed_over)
    store = Store(str(experiment.storage.expanduser().absolute() / "store"))
    version = store.publish(bundle, experiment.name)
    return Best(bundle, promote_if_better(store, experiment.name, version, storage=experiment.storage))


def with_margin(objective: str, standing: Standing) -> str:
    """Write a mean and its margin for people."""
    margin = standing.high - standing.mean
    figure = figure_of(objective, standing.mean)
    return f"{figure:.4g}" if standing.count < 2 else f"{figure:.4g} ± {margin:.2g}"


def _figure(trial: Trial) -> float:
    """Return the first loss of a trial that ended, inf if it came to nothing."""
    return trial.losses[0] if trial.losses and trial.losses[0] < WORST else math.inf


def _figure_text(found: SweepResult, trial: Trial) -> str:
    figure = found.figure(trial)
    return "" if math.isnan(figure) else f"{figure:.4g}"


def _shortened(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
