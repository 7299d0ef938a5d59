"""What a sweep shows of itself while it runs."""

from pathlib import Path

from rayology.experiment import Experiment
from rayology.progress import Bar
from rayology.search.journal import Journal
from rayology.search.space import Space, dimensions, starting_points
from rayology.search.study import _look
from rayology.training.run import Run


class Shown(Bar):
    """A bar that keeps what it was told."""

    def advance(self, done: int, total: int, words: str = "") -> None:
        self.told = (done, total, words)


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
