"""What is observed of a training: history, figures, checkpoints, and the report to whoever runs it."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from rayology.data import PreparedDataset
from rayology.errors import DataError, Diverged
from rayology.experiment import Experiment
from rayology.metrics import loss_of
from rayology.training import checkpoint
from rayology.training.evaluation import Evaluator
from rayology.training.history import History
from rayology.training.loop import Training

__all__ = ["LOSS", "Observer", "Report", "observing"]

LOSS = "loss"  # the objective as a search lowers it, next to the figures that people read

Report = Callable[[Mapping[str, float], Path | None], None]
"""Takes the newest figures and the folder of a checkpoint, if there is one; only the leading process has either."""


class Observer:
    """What a process that does not lead does: take part in each report, with nothing to say."""

    def __init__(self, experiment: Experiment, report: Report) -> None:
        self.schedule = experiment.schedule
        self.report = report

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of a step."""

    def evaluate(self, training: Training) -> None:
        """Evaluate, and report unless the checkpoint that follows does."""
        if not self.schedule.is_checkpointed(training.step):
            self.report({}, None)

    def checkpoint(self, training: Training) -> None:
        """Report with a checkpoint."""
        del training
        self.report({}, None)


class Leader(Observer):
    """What the leading process does: write the history, evaluate and keep checkpoints."""

    def __init__(self, experiment: Experiment, report: Report, evaluator: Evaluator, history: History) -> None:
        super().__init__(experiment, report)
        self._objective = experiment.search.objective
        self._evaluator = evaluator
        self._history = history
        self._figures: dict[str, float] = {}
        self._logged_at: tuple[int, float] | None = None
        self._paused_s = 0.0  # spent on evaluations and checkpoints, which does not count as training

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Write the figures of a step into the history, with the images per second since the last."""
        now = time.monotonic() - self._paused_s
        rate = {}
        if self._logged_at is not None:
            before, at = self._logged_at
            rate = {"images_per_s": (step - before) * self.schedule.batch_size / max(now - at, 1e-9)}
        self._history.write(step, {**figures, **rate})
        self._logged_at = step, now

    def evaluate(self, training: Training) -> None:
        """Measure the averaged model, and report unless the checkpoint that follows does.

        Raises:
            Diverged: what it makes is not finite.
        """
        started_at = time.monotonic()
        try:
            figures = self._evaluator.quick(training.average)
        except DataError as error:
            raise Diverged(f"at step {training.step}: {error}; lower optimizer.lr") from None
        self._history.write(training.step, {f"val/{name}": figure for name, figure in figures.items()})
        self._figures = {"step": training.step, **figures, LOSS: loss_of(self._objective, figures.get(self._objective))}
        if not self.schedule.is_checkpointed(training.step):
            self.report(self._figures, None)
        self._paused_s += time.monotonic() - started_at

    def checkpoint(self, training: Training) -> None:
        """Report the newest figures with a checkpoint."""
        started_at = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint.save(training, Path(scratch))
            self.report(self._figures, Path(scratch))
        self._paused_s += time.monotonic() - started_at


@contextmanager
def observing(  # noqa: PLR0913 - what is observed, where, and for whom
    experiment: Experiment,
    data: PreparedDataset,
    folder: Path,
    device: torch.device,
    report: Report,
    *,
    step: int,
    leads: bool,
) -> Iterator[Observer]:
    """Yield the observer of a training in this process, from a step on."""
    if not leads:
        yield Observer(experiment, report)
        return
    with History(folder, step=step) as history:
        yield Leader(experiment, report, Evaluator(experiment.seed, data, device), history)
