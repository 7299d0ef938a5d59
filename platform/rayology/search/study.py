"""Ray Tune around the recipe: a trial is a training, its report a figure on the validation split."""

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import ray
import torch
from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from rayology.config import nested, path_of
from rayology.data import PreparedDataset
from rayology.errors import ConfigError, DatasetError, Diverged, OutOfMemory, RolledBack
from rayology.experiment import Experiment
from rayology.metrics import WORST
from rayology.progress import Bar, watching
from rayology.search.callback import ProgressCallback
from rayology.search.results import TrialResult, read_results
from rayology.search.searcher import JournalSearcher, close_study, open_study
from rayology.search.space import out_of_range
from rayology.training.cache import cached
from rayology.training.cluster import awaited, require_suitable, train, uses_gpu
from rayology.training.observer import LOSS
from rayology.training.run import BUNDLE, Assignment, Run
from rayology.training.worker import finish, train_here

__all__ = ["search"]

logger = logging.getLogger(__name__)


def search(sweep: Run, data: PreparedDataset) -> list[TrialResult]:
    """Run the trials that the experiment asks for and return them, the best first.

    Each trial that reached its last step has left a bundle. An interrupted sweep resumes: finished trials count,
    unfinished ones go on from their last checkpoint.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # each trial writes its own history
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")  # age of what a restarted driver knows of its trials
    os.environ.setdefault(
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0"
    )  # frequent syncs are wanted
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # an interrupted sweep has not ended, and promotes nobody
    for sentence in out_of_range(sweep.experiment):  # raises if search.narrow is wrong
        logger.warning("%s", sentence)
    require_suitable(sweep.experiment, data)
    place = str(sweep.folder / "ray")
    assignment = Assignment(
        experiment=sweep.experiment.model_dump(mode="json"),
        dataset=str(data.path),
        folder=str(sweep.folder),
        reports=True,
    )
    trainable = tune.with_resources(partial(_trial, assignment=assignment), _resources(sweep.experiment))
    if sweep.is_resumed and Tuner.can_restore(place):
        tuner = Tuner.restore(place, trainable=trainable, resume_unfinished=True, resume_errored=True)
        if tuner._local_tuner is not None:  # noqa: SLF001 - Tune offers no other way, and under ray:// not even this
            # Tune restores the searcher as it was pickled, and the sweep may have been moved since.
            tuner._local_tuner._tune_config.search_alg.folder = sweep.folder  # noqa: SLF001
    else:
        tuner = Tuner(trainable, tune_config=_tune_config(sweep), run_config=_run_config(sweep))
    with watching("tune", "starting the trials", partial(_look, sweep), every_s=5.0):
        results = tuner.fit()
    close_study(sweep.folder)
    return read_results(sweep, results)


def _look(sweep: Run, bar: Bar) -> None:
    """Show how many of all steps were taken or are spared, as the study's journal knows it."""
    steps, num_trials = sweep.experiment.schedule.steps, sweep.experiment.search.num_trials
    trials = open_study(sweep.folder).get_trials(deepcopy=False)
    ended = sum(trial.state.is_finished() for trial in trials)
    going = sum(max(trial.intermediate_values, default=0) for trial in trials if not trial.state.is_finished())
    bar.advance(ended * steps + going, num_trials * steps, f"steps; {ended} of {num_trials} trials have ended")
    bar.wait(lambda: awaited(sweep.experiment))


def _tune_config(sweep: Run) -> TuneConfig:
    experiment, wanted = sweep.experiment, sweep.experiment.search
    return TuneConfig(
        num_samples=wanted.num_trials,
        max_concurrent_trials=_most_at_once(experiment),
        reuse_actors=True,
        trial_name_creator=_name,
        trial_dirname_creator=_name,
        search_alg=JournalSearcher(experiment, sweep.folder),
        scheduler=ASHAScheduler(
            metric=LOSS,
            mode="min",
            time_attr="step",
            max_t=experiment.schedule.steps + 1,  # a trial that gets to its last step ends by itself, with a bundle
            grace_period=min(wanted.grace_steps, experiment.schedule.steps),
            reduction_factor=wanted.reduction_factor,
        ),
    )


def _run_config(sweep: Run) -> RunConfig:
    wanted, steps = sweep.experiment.search, sweep.experiment.schedule.steps
    return RunConfig(
        name="ray",
        storage_path=str(sweep.folder),
        failure_config=FailureConfig(max_failures=wanted.max_failures),
        callbacks=[ProgressCallback(wanted.objective, steps=steps)],
        verbose=0,
    )


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
    return max(1, min(experiment.search.concurrent_trials, *map(int, room)))


def _name(trial: "tune.experiment.Trial") -> str:
    return f"trial-{trial.trial_id.rsplit('_', maxsplit=1)[-1]}"


def _trial(choices: Mapping[str, object], assignment: Assignment) -> None:
    """Train one candidate; one that diverges or does not fit ends alone, with the worst possible figure."""
    experiment = Experiment.model_validate(assignment["experiment"])
    data = PreparedDataset.open(Path(assignment["dataset"]))
    folder = Path(assignment["folder"]) / "trials" / tune.get_context().get_trial_name()
    try:
        candidate = experiment.patched(nested({path_of(name): value for name, value in choices.items()}))
        require_suitable(candidate, data)
        run = Run(folder, candidate)
        if candidate.scaling.num_workers > 1:
            train(run, data, callbacks=(TuneReportCallback(),))
        else:
            _train_alone(run, data)
    except (ConfigError, DatasetError, Diverged, OutOfMemory) as error:
        logger.warning("A trial %s: %s.", "diverged" if isinstance(error, Diverged) else "does not fit", error)
        tune.report({LOSS: WORST, "step": experiment.schedule.steps})


def _train_alone(run: Run, data: PreparedDataset) -> None:
    """Train in the trial's own process, from its last checkpoint if it was interrupted."""
    if (run.folder / BUNDLE).is_dir():  # it ended, but its driver was lost before it knew
        return

    device = torch.device("cuda" if torch.cuda.is_available() and uses_gpu(run.experiment) else "cpu")
    data = cached(data.path, run.experiment.scaling.cache)
    train = partial(
        train_here, run.experiment, data, run.folder, report=lambda figures: tune.report(dict(figures)), device=device
    )
    try:
        training = train()
    except RolledBack as error:
        logger.warning("A trial: %s.", error)
        training = train()
    finish(run.experiment, data, training, run.folder / BUNDLE)
