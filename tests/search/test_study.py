"""What a sweep shows of itself while it runs."""

from pathlib import Path

from optuna.trial import TrialState

from rayology.experiment import Experiment
from rayology.progress import Bar
from rayology.search.searcher import open_study
from rayology.search.study import _look
from rayology.training.run import Run


class Shown(Bar):
    """A bar that keeps what it was told."""

    def advance(self, done: int, total: int, words: str = "") -> None:
        self.told = (done, total, words)


def test_a_sweep_counts_ended_trials_as_whole_and_going_ones_by_their_last_step(tmp_path: Path) -> None:
    experiment = Experiment.model_validate({"schedule": {"steps": 100}, "search": {"num_trials": 4}})
    study, bar = open_study(tmp_path), Shown("tune")
    ended, going, _ = study.ask(), study.ask(), study.ask()
    study.tell(ended, state=TrialState.PRUNED)
    going.report(3.0, 25)
    going.report(2.0, 50)

    _look(Run(tmp_path, experiment), bar)

    assert bar.told == (150, 400, "steps; 1 of 4 trials have ended")
