"""What a sweep shows of itself while it runs."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import RenderableType
from rich.table import Table

from rayology.experiment import Experiment
from rayology.progress import Bar
from rayology.search.callback import ProgressCallback
from rayology.search.journal import Journal, Trial
from rayology.search.marks import dimensions, starting_points
from rayology.search.results import SweepResult, running_table
from rayology.search.space import Space
from rayology.search.study import _look
from rayology.training.observer import LOSS
from rayology.training.run import Run


class Shown(Bar):
    """A bar that keeps what it was told."""

    def advance(self, done: int, total: int, words: str = "") -> None:
        self.told = (done, total, words)

    def show(self, below: RenderableType) -> None:
        assert isinstance(below, Table)
        self.below = below


def test_a_sweep_counts_ended_trials_as_whole_and_going_ones_by_their_last_step(tmp_path: Path) -> None:
    experiment = Experiment.model_validate({"schedule": {"steps": 100}, "search": {"num_trials": 4}})
    space, bar = Space(dimensions(experiment)), Shown("tune")
    journal = Journal(tmp_path)
    ended, going, _ = (journal.begin(space, starting_points(experiment)[0], seed=seed) for seed in range(3))
    journal.end(ended.number, "stopped")
    journal.report(going.number, 25, 3.0)
    journal.report(going.number, 50, 2.0)

    _look(Run(tmp_path, experiment), bar)

    assert bar.told == (150, 400, "steps; 1 of 4 trials have ended")
    assert [*bar.below.columns[0].cells] == ["trial-0001", "trial-0002"], "what runs is not shown"
    assert [*bar.below.columns[2].cells] == ["50 of 100", "0 of 100"]


def test_a_table_of_what_runs_ends_with_the_best_that_has_finished() -> None:
    trials = [
        Trial(0, {"model.kind": "vae"}, 0, losses=(2.0,), outcome="finished"),
        Trial(1, {"model.kind": "gan"}, 0, losses=(1.0,), outcome="finished"),
        Trial(2, {"model.kind": "gan"}, 0, repeats=1, curve={250: 3.0}),
    ]

    shown = running_table(SweepResult(Path("some"), Experiment(), Space(()), tuple(trials)))

    assert [*zip(*(column.cells for column in shown.columns), strict=True)] == [
        ("trial-0002, trial-0001 again", "gan", "250 of 2000", "3"),
        ("trial-0001, the best so far", "gan", "finished", "1"),
    ]


def test_a_driver_that_goes_on_knows_what_was_best_before(caplog: pytest.LogCaptureFixture) -> None:
    begun = SweepResult(Path("some"), Experiment(), Space(()), (Trial(0, {}, 0, curve={250: 2.0}),))
    trial = SimpleNamespace(config={"point": {"model.kind": "vae"}})
    caplog.set_level(logging.INFO, "rayology")

    ProgressCallback(begun).on_trial_result(0, [], trial, {"step": 500, LOSS: 3.0})

    assert caplog.messages[-1].endswith("step 500/2000: mmd 3, best 2.")
