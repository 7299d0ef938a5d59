"""Ray Tune's searcher over Optuna's ask and tell, with Optuna's journal as the only truth.

Tune's own ``OptunaSearch`` pickles its view of the study now and then. Restored next to a journal that is further on,
it reports trials that have already ended, and the sweep dies. This one keeps nothing that the journal does not hold.
"""

from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from rayology.experiment import Experiment
from rayology.noise import derive_seed
from rayology.search.space import starting_points, suggest
from rayology.training.observer import LOSS

__all__ = ["JournalSearcher", "close_study", "open_study"]

JOURNAL = "optuna-journal.log"
TUNE_ID = "tune_id"


def open_study(folder: Path) -> optuna.Study:
    """Open the study of a sweep, or begin it."""
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.create_study(study_name=folder.name, storage=storage, direction="minimize", load_if_exists=True)


def close_study(folder: Path) -> None:
    """Give up trials that were asked for and lost with a driver: they would count as running forever."""
    study = open_study(folder)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


class JournalSearcher(Searcher):  # type: ignore[misc] # Ray ships no types
    """Let Optuna's TPE choose each trial; the same history leads to the same choice, before and after a restart."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        super().__init__(metric=LOSS, mode="min")
        self._experiment = experiment
        self.folder = folder
        """Where the journal is."""
        self._most = experiment.search.concurrent_trials
        self._opened: optuna.Study | None = None
        self._going: set[str] = set()

    def __getstate__(self) -> dict[str, object]:
        """Leave out what a restarted driver must find again: the study, and which trials are going."""
        return {**self.__dict__, "_opened": None, "_going": set()}

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Apply the limit here: Tune's own limiter waits forever for a trial that was lost with its driver."""
        self._most = max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, object] | None:
        """Ask the study for the values of a new trial, each kind's defaults first; None while enough are running."""
        if len(self._going) >= self._most:
            return None
        self._going.add(trial_id)
        wanted = self._experiment.search
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = TPESampler(
            seed=derive_seed(self._experiment.seed, "trial", number) % 2**32, n_startup_trials=wanted.startup_trials
        )
        points = starting_points(self._experiment)[: max(1, wanted.num_trials // 2)]
        if number < len(points):
            self._study.enqueue_trial(points[number])
        trial = self._study.ask()
        trial.set_user_attr(TUNE_ID, trial_id)
        return dict(suggest(trial, self._experiment))

    def on_trial_result(self, trial_id: str, result: Mapping[str, float]) -> None:
        """Report the progress of a trial to the study."""
        self._going.add(trial_id)
        trial = self._running(trial_id)
        if trial is not None and int(result["step"]) not in trial.intermediate_values:
            going = optuna.trial.Trial(self._study, trial._trial_id)  # noqa: SLF001 - there is no other way back to it
            going.report(result[self.metric], int(result["step"]))

    def on_trial_complete(
        self,
        trial_id: str,
        result: Mapping[str, float] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Tune's signature
    ) -> None:
        """Tell the study how a trial ended; one that the scheduler stopped counts as pruned at its last step."""
        self._going.discard(trial_id)
        trial = self._running(trial_id)
        if trial is None:
            return
        if error or not result or self.metric not in result:
            self._study.tell(trial.number, state=TrialState.FAIL)
        elif result["step"] < self._experiment.schedule.steps:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, result[self.metric])

    def save(self, checkpoint_path: str) -> None:
        """Point to the journal, which holds everything: Tune resumes only with a file from each searcher."""
        Path(checkpoint_path).write_text(str(self.folder / JOURNAL), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal holds everything."""

    @property
    def _study(self) -> optuna.Study:
        if self._opened is None:
            self._opened = open_study(self.folder)
        return self._opened

    def _running(self, trial_id: str) -> FrozenTrial | None:
        """Return a trial unless it has ended, or was never asked for."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return next((trial for trial in running if trial.user_attrs.get(TUNE_ID) == trial_id), None)
