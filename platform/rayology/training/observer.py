"""What is observed of a training: history, figures, checkpoints, and the report to whoever runs it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch

from rayology.data import PreparedDataset
from rayology.errors import DataError, Diverged, OutOfMemory
from rayology.experiment import Experiment
from rayology.metrics import loss_of
from rayology.models import Model
from rayology.training.checkpoint import Checkpoints
from rayology.training.evaluation import Evaluator
from rayology.training.gradients import Workers
from rayology.training.history import History, read
from rayology.training.loop import Training
from rayology.training.sheets import sheets

__all__ = ["CHECKPOINTS", "LOSS", "Observer", "Report", "measured", "observing"]

CHECKPOINTS = "checkpoints"

DIVERSE, COLLAPSED = 0.5, 0.1  # shares of how unlike real images are
LOSS = "loss"  # the objective as a search lowers it, next to the figures that people read

Report = Callable[[Mapping[str, float]], None]
"""Takes the figures of an evaluation; the leading process alone has them, but every one reports."""


def measured(training: Training, measure: Callable[[Model], dict[str, float]]) -> dict[str, float]:
    """Measure the averaged model in all processes together; the leading one gets the figures.

    Raises:
        Diverged: what it makes is not finite; in all processes alike.
        OutOfMemory: one of them has too little; also in all.
    """
    try:
        return measure(training.average)
    except DataError as error:
        raise Diverged(f"at step {training.step}: {error}; lower optimizer.lr") from None
    except torch.OutOfMemoryError:
        said = f"the evaluation after step {training.step} ran out of memory; choose a smaller model"
        raise OutOfMemory(said, in_all=True) from None


class Observer:
    """What a process that does not lead does: take part in each evaluation and report, with nothing to say."""

    def __init__(self, report: Report, evaluator: Evaluator) -> None:
        self.report = report
        self._evaluator = evaluator
        self.figures: dict[str, float | int] = {}
        """The figures of the last evaluation, for the report."""

    def log(self, training: Training, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""

    def evaluate(self, training: Training) -> None:
        """Take part in an evaluation, and report."""
        measured(training, self._evaluator.quick)
        self.report(self.figures)

    def checkpoint(self, training: Training) -> None:
        """Take part in a checkpoint."""


class Leader(Observer):
    """What the leading process does: write the history and figures, and keep checkpoints."""

    def __init__(
        self,
        experiment: Experiment,
        report: Report,
        evaluator: Evaluator,
        history: History,
        checkpoints: Checkpoints,
    ) -> None:
        super().__init__(report, evaluator)
        self._schedule = experiment.schedule
        self._objective = experiment.search.objective
        self._history = history
        self._checkpoints = checkpoints
        self._logged_at: tuple[int, float] | None = None
        self._paused_s = 0.0  # spent on evaluations and checkpoints, which does not count as training
        self._saved_at = time.monotonic()
        self._shares: list[tuple[int, float]] = []  # how diverse samples were after which step

    def log(self, training: Training, figures: Mapping[str, float]) -> None:
        """Write the figures of a step into the history, with the images per second since the last."""
        now = time.monotonic() - self._paused_s
        rate = {}
        if self._logged_at is not None:
            before, at = self._logged_at
            rate = {"images_per_s": (training.step - before) * self._schedule.batch_size / max(now - at, 1e-9)}
        self._history.write(training.step, {**figures, **rate})
        self._logged_at = training.step, now
        is_due = time.monotonic() - self._saved_at > 60 * self._schedule.checkpoint_minutes
        follows = self._schedule.is_evaluated(training.step) or self._schedule.is_checkpointed(training.step)
        if is_due and not follows:
            self.checkpoint(training)

    def evaluate(self, training: Training) -> None:
        """Measure the averaged model, and report.

        Raises:
            Diverged: samples that were diverse before have become alike; in this process alone.
        """
        started_at = time.monotonic()
        figures = measured(training, self._evaluator.quick)
        self._history.write(training.step, {f"val/{name}": figure for name, figure in figures.items()})
        for name, sheet in sheets(self._evaluator, training.average):
            self._history.picture(training.step, name, sheet)
        self.remember(training.step, figures)
        if (sound := self._sound_until()) is not None:
            alike, real = figures["diversity"], figures["diversity/real"]
            raise Diverged(
                f"at step {training.step}: samples have collapsed, two are alike to {alike:.2f} (SSIM) where real "
                f"images are to {real:.2f}; lower optimizer.lr, or try another loss or regulariser",
                sound_until=sound,
            )
        self.figures = reported(training.step, figures, self._objective)
        self.report(self.figures)
        self._paused_s += time.monotonic() - started_at

    def remember(self, step: int, figures: Mapping[str, float]) -> None:
        """Note how diverse samples were; those of the first steps tell nothing, and may be noise."""
        if step > self._schedule.warmup_steps:
            self._shares.append((step, diversity(figures)))

    def _sound_until(self) -> int | None:
        """Return the last step with diverse samples if samples have collapsed since, else None.

        They have if two evaluations in a row found them diverse, and now the newest two find them alike.
        """
        *earlier, before, now = [(0, 0.0), (0, 0.0), *self._shares]
        was_diverse = any(min(one[1], two[1]) > DIVERSE for one, two in pairwise(earlier))
        if not was_diverse or max(before[1], now[1]) >= COLLAPSED:
            return None
        return max(step for step, share in earlier if share > DIVERSE)

    def checkpoint(self, training: Training) -> None:
        """Keep a checkpoint, as good as an evaluation of this very step says."""
        self._saved_at = started_at = time.monotonic()
        is_measured = self.figures.get("step") == training.step
        self._checkpoints.save(training, loss=self.figures[LOSS] if is_measured else math.inf)
        self._paused_s += time.monotonic() - started_at


def diversity(figures: Mapping[str, float]) -> float:
    """Return how unlike two samples are, as a share of how unlike real images are; 1 for a model that draws none.

    >>> round(diversity({"diversity": 0.95, "diversity/real": 0.5}), 3)
    0.1
    """
    if "diversity" not in figures:
        return 1.0
    return (1 - figures["diversity"]) / max(1 - figures["diversity/real"], 1e-9)


def reported(step: int, figures: Mapping[str, float], objective: str) -> dict[str, float | int]:
    """Return what is reported of an evaluation."""
    return {"step": step, **figures, LOSS: loss_of(objective, figures.get(objective))}


@contextmanager
def observing(  # noqa: PLR0913 - what is observed, where, and for whom
    experiment: Experiment,
    data: PreparedDataset,
    folder: Path,
    device: torch.device,
    report: Report,
    *,
    step: int,
    workers: Workers,
) -> Iterator[Observer]:
    """Yield the observer of a training in this process, from a step on."""
    evaluator = Evaluator(experiment.seed, data, device, workers=workers)
    if not workers.leads:
        yield Observer(report, evaluator)
        return
    kept = Checkpoints(folder / CHECKPOINTS, dataset=data.info.fingerprint, keep_every=experiment.schedule.keep_every)
    with History(folder, step=step) as history, kept as checkpoints:
        leader = Leader(experiment, report, evaluator, history, checkpoints)
        for line in read(folder):
            if figures := {name.removeprefix("val/"): line[name] for name in line if name.startswith("val/")}:
                leader.remember(int(line["step"]), figures)
                leader.figures = reported(int(line["step"]), figures, experiment.search.objective)
        yield leader
