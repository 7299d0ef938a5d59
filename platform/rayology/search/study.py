"""Ray Tune around the recipe: a trial is a training, its report a figure on the validation split."""

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import ray
import torch
from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.integration.ray_train import TuneReportCallback

from rayology.bundle import Bundle
from rayology.data import DatasetInfo, PreparedDataset
from rayology.errors import ConfigError, DatasetError, Diverged, OutOfMemory, RolledBack
from rayology.experiment import Experiment, SearchConfig
from rayology.metrics import loss_of
from rayology.progress import Bar, watching
from rayology.search.callback import ProgressCallback
from rayology.search.costs import COSTS, violations
from rayology.search.journal import TRIALS, Journal, mend, trial_name
from rayology.search.marks import candidate, dimensions, out_of_range
from rayology.search.planner import Planner
from rayology.search.results import SweepResult, running_table
from rayology.search.searcher import LOSSES, OUTCOME, JournalScheduler, JournalSearcher, TrialConfig
from rayology.search.space import Point, Space
from rayology.search.warm_start import recalled
from rayology.training.cache import cached
from rayology.training.cluster import awaited, require_suitable, train, uses_gpu
from rayology.training.run import BUNDLE, Assignment, Run, in_sole_use
from rayology.training.worker import finish, train_here

__all__ = ["search"]

logger = logging.getLogger(__name__)

TUNE = ".ray-"  # how folders of Tune's own state begin, which nothing reads
PLAIN = {
    "RAY_AIR_NEW_OUTPUT": "0",  # it names a folder that goes when the sweep ends
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # each trial writes its own history
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupted sweep has not ended, and promotes nobody
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def search(sweep: Run, data: PreparedDataset) -> SweepResult:
    """Run the trials that the experiment asks for, and return what they found.

    Each trial that reached its last step has left a bundle. An interrupted sweep resumes: what ended counts, what did
    not goes on from its last checkpoint.

    Raises:
        ConfigError: ``search.narrow`` is wrong, the sweep searches what this version does not, or it is under way.
        SearchError: nothing keeps to the constraints.
    """
    for name, value in PLAIN.items():
        os.environ.setdefault(name, value)
    for sentence in out_of_range(sweep.experiment):
        logger.warning("%s", sentence)
    require_suitable(sweep.experiment, data)
    with in_sole_use(sweep.folder):
        mend(sweep.folder)
        _run(sweep, data)
    return SweepResult.read(sweep)


def _run(sweep: Run, data: PreparedDataset) -> None:
    experiment, wanted = sweep.experiment, sweep.experiment.search
    assignment = Assignment(
        experiment=experiment.model_dump(mode="json"), dataset=str(data.path), folder=str(sweep.folder), reports=True
    )
    searcher = JournalSearcher(partial(_plan, sweep, data.info), most=partial(_most_at_once, experiment))
    searcher.planner  # noqa: B018 - raises here what Tune would swallow
    for left in sweep.folder.glob(f"{TUNE}*"):  # by a driver that was killed
        shutil.rmtree(left, ignore_errors=True)
    place = mkdtemp(prefix=TUNE, dir=sweep.folder)
    tuner = Tuner(
        tune.with_resources(partial(_trial, assignment=assignment), _resources(experiment)),
        tune_config=TuneConfig(
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            search_alg=searcher,
            scheduler=JournalScheduler(searcher),
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=place,
            failure_config=FailureConfig(max_failures=wanted.max_failures),
            callbacks=[ProgressCallback(SweepResult.read(sweep))],
            verbose=0,
        ),
    )
    try:
        with watching("tune", "starting the trials", partial(_look, sweep), every_s=5.0):
            tuner.fit()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _plan(sweep: Run, info: DatasetInfo) -> tuple[Planner, Journal]:
    experiment = sweep.experiment
    journal = Journal(sweep.folder, num_objectives=1 + len(experiment.search.tradeoffs))
    space = journal.pinned(Space(dimensions(experiment)))
    portfolio = journal.portfolio(partial(recalled, sweep, info, space))

    def over(point: Point) -> Mapping[str, float]:
        try:
            return violations(candidate(experiment, point, seed=experiment.seed), info.image)
        except ConfigError:  # its trial says so, and comes to nothing
            return {}

    return Planner(experiment, space, journal, portfolio=portfolio, violations=over), journal


def _look(sweep: Run, bar: Bar) -> None:
    """Show how many of all steps were taken or are spared, and what runs, as the sweep's journal knows it."""
    steps, num_trials = sweep.experiment.schedule.steps, sweep.experiment.search.num_trials
    found = SweepResult.read(sweep)
    going = sum(trial.step for trial in found.trials if not trial.outcome)
    words = f"steps; {found.num_ended} of {num_trials} trials have ended"
    bar.advance(found.num_ended * steps + going, num_trials * steps, words)
    bar.show(running_table(found))
    bar.wait(lambda: awaited(sweep.experiment))


def _resources(experiment: Experiment) -> dict[str, float]:
    """Return what a trial's own process needs; the workers of a trial with several ask for theirs."""
    if experiment.scaling.num_workers > 1:
        return {"CPU": 0, "memory": 256 * 2**20}
    return {"CPU": experiment.scaling.cpus_per_worker, "GPU": int(uses_gpu(experiment))}


def _most_at_once(experiment: Experiment) -> int:
    """Return how many trials may run together; more than fit would wait for each other's workers."""
    scaling, cluster = experiment.scaling, ray.cluster_resources()
    room = [cluster.get("CPU", 0) // (scaling.num_workers * scaling.cpus_per_worker)]
    if uses_gpu(experiment):
        room.append(cluster.get("GPU", 0) // scaling.num_workers)
    if (wanted := experiment.search.concurrent_trials) != "auto":
        room.append(wanted)
    return max(1, int(min(room)))


def _name(trial: "tune.experiment.Trial") -> str:
    return trial_name(trial.config["number"])


def _trial(config: TrialConfig, assignment: Assignment) -> None:
    """Train one candidate; one that diverges or does not fit ends alone."""
    experiment = Experiment.model_validate(assignment["experiment"])
    data = PreparedDataset.open(Path(assignment["dataset"]))
    run = Run(Path(assignment["folder"]) / TRIALS / tune.get_context().get_trial_name(), experiment)
    outcome = "finished"
    losses: tuple[float, ...] = ()
    try:
        run = replace(run, experiment=candidate(experiment, config["point"], seed=config["seed"]))
        require_suitable(run.experiment, data)
        if not (run.folder / BUNDLE).is_dir():  # else it ended, but its driver was lost before it knew
            _train(run, data)
        losses = losses_of(Bundle.load(run.folder / BUNDLE), experiment.search)
    except (ConfigError, DatasetError, Diverged, OutOfMemory) as error:
        outcome = "diverged" if isinstance(error, Diverged) else "unfit"
        logger.warning("%s is %s: %s.", run.folder.name, outcome, error)
    tune.report({OUTCOME: outcome, LOSSES: losses})


def losses_of(bundle: Bundle, wanted: SearchConfig) -> tuple[float, ...]:
    """Return what a search lowers of a trained model: its objective, then what is weighed against that."""
    metrics, model = bundle.manifest.metrics, bundle.build() if wanted.tradeoffs else None
    return tuple(
        COSTS[name](model) if model is not None and name in COSTS else loss_of(name, metrics.get(name))
        for name in (wanted.objective, *wanted.tradeoffs)
    )


def _train(run: Run, data: PreparedDataset) -> None:
    """Train from the trial's last checkpoint if it was interrupted: in its own process, or with workers of its own."""
    if run.experiment.scaling.num_workers > 1:
        train(run, data, callbacks=(TuneReportCallback(),))
        return
    device = torch.device("cuda" if torch.cuda.is_available() and uses_gpu(run.experiment) else "cpu")
    data = cached(data.path, run.experiment.scaling.cache)
    train_alone = partial(
        train_here, run.experiment, data, run.folder, report=lambda figures: tune.report(dict(figures)), device=device
    )
    try:
        training = train_alone()
    except RolledBack as error:
        logger.warning("A trial: %s.", error)
        training = train_alone()
    finish(run.experiment, data, training, run.folder / BUNDLE)
