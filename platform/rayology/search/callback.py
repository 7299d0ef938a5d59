"""The progress of a sweep, logged while it runs."""

import logging
from collections.abc import Mapping
from typing import Protocol

from ray.tune import Callback

from rayology.metrics import WORST
from rayology.progress import console
from rayology.search.results import SweepResult, as_figure
from rayology.training.observer import LOSS

__all__ = ["ProgressCallback"]

logger = logging.getLogger(__name__)


class NamedTrial(Protocol):
    """The part of Tune's trial that is used."""

    config: Mapping[str, Mapping[str, object]]


class ProgressCallback(Callback):  # type: ignore[misc] # Ray ships no types
    """Log each evaluation of a trial next to the best so far, unless a terminal shows it live."""

    def __init__(self, begun: SweepResult) -> None:
        self._objective = begun.experiment.search.objective
        self._steps = begun.experiment.schedule.steps
        self._least = min((loss for trial in begun.trials for loss in trial.curve.values()), default=WORST)

    def on_trial_result(
        self, iteration: int, trials: list[NamedTrial], trial: NamedTrial, result: Mapping[str, float], **_: object
    ) -> None:
        """Say how far a trial is."""
        del iteration, trials
        if LOSS not in result or console.is_terminal:  # it has ended, or is seen
            return
        self._least = min(self._least, result[LOSS])
        logger.info(
            "%s (%s) step %d/%d: %s %.4g, best %.4g.",
            trial,
            trial.config["point"]["model.kind"],
            result["step"],
            self._steps,
            self._objective,
            as_figure(self._objective, result[LOSS]),
            as_figure(self._objective, self._least),
        )

    def on_trial_error(self, iteration: int, trials: list[NamedTrial], trial: NamedTrial, **_: object) -> None:
        """Say that a trial failed; the sweep goes on."""
        del iteration, trials
        logger.warning("%s failed; the others go on.", trial)
