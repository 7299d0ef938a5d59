"""Ray Train around the recipe: workers, checkpoints, and resuming after a worker was lost."""

import math
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from rayology.atomic import write_atomic
from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.data.workers import waiting_for
from rayology.errors import DatasetError, Diverged, OutOfMemory, TrainingError
from rayology.experiment import Experiment
from rayology.interruption import GRACE_S
from rayology.models import Classifies, Segments
from rayology.progress import console
from rayology.training.cache import cached
from rayology.training.checkpoint import newest_step
from rayology.training.gradients import Workers
from rayology.training.incidents import recording, tell
from rayology.training.memory import stored_microbatches
from rayology.training.observer import CHECKPOINTS
from rayology.training.recovery import is_rolled_back
from rayology.training.run import BUNDLE, DIVERGED, INIT, Assignment, Run, require_images
from rayology.training.stopping import STOP, ask_to_stop
from rayology.training.worker import finish, train_here

__all__ = ["awaited", "require_suitable", "train", "uses_gpu"]


MARKS: Mapping[type[TrainingError], str] = {Diverged: DIVERGED, OutOfMemory: "out-of-memory.txt"}
"""File left by a run that would only end in the same way again if its workers were started again."""

SECONDS_OF_ONE_FAILURE = 10.0  # for which Ray may tell of it again


class Incidents(UserCallback):  # type: ignore[misc] # Ray has no types for it
    """Has Ray's controller, a process of its own, tell of workers that were lost or failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told, self._told_at = "", 0.0

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Tell of the first to go; those that waited for it fail because it did."""
        del run_context
        lost = [rank for rank, error in worker_exceptions.items() if "health check" in str(error)]  # Ray's words
        rank = min(lost or worker_exceptions)
        reason = "its process or machine was lost, or it hung" if lost else _last_line(worker_exceptions[rank])[:200]
        if "gloo" in reason:  # in its messages of several lines
            reason = "it waited for one that was lost"
        sentence, now = f"Worker {rank} of the training ended: {reason}.", time.monotonic()
        if sentence != self._told or now - self._told_at > SECONDS_OF_ONE_FAILURE:
            tell(self._folder, sentence)
        self._told, self._told_at = sentence, now


def train(run: Run, data: PreparedDataset, *, callbacks: tuple[UserCallback, ...] = ()) -> Bundle:
    """Train on the workers that the experiment asks for and return the bundle, written into the run's folder.

    An interrupted run resumes from its newest checkpoint. So does one that lost a worker, and one of which a node is
    about to be taken away.

    Raises:
        Diverged: a loss or a sample is no longer finite, or samples have collapsed.
        OutOfMemory: a step takes more memory than a worker has.
        TrainingError: workers were lost too often without a new checkpoint in between.
        DatasetError: the validation split holds a single image.
        ConfigError: the bundle to start from is of other images.
    """
    require_suitable(run.experiment, data)
    if "model" in run.experiment.init:
        require_images(Bundle.load(run.folder / INIT / "model"), data.info.image)
    for left in (STOP, MARKS[OutOfMemory]):  # there may be more memory now
        (run.folder / left).unlink(missing_ok=True)
    gpu = uses_gpu(run.experiment)  # once: a node that leaves for a while makes no other training of it
    is_over = False
    while not is_over:
        before = _progress(run.folder)
        try:
            is_over = _fit(_trainer(run, data, callbacks, gpu=gpu), run.folder)
        except ray.train.TrainingFailedError as error:
            is_over = _refusal(run.folder) is not None
            if not is_over and _progress(run.folder) == before:
                raise TrainingError(
                    f"{run.folder.name}: workers were lost or failed more than {run.experiment.scaling.max_failures}"
                    f" times in a row; the last reason: {_last_line(error)}"
                ) from error
    if refusal := _refusal(run.folder):
        raise refusal
    return Bundle.load(run.folder / BUNDLE)


def _progress(folder: Path) -> tuple[int, int, bool]:
    """Return what changes if a failure was worth it: the newest step that is kept, the microbatches, the roll-back."""
    return newest_step(folder / CHECKPOINTS), stored_microbatches(folder), is_rolled_back(folder)


def _trainer(run: Run, data: PreparedDataset, callbacks: tuple[UserCallback, ...], *, gpu: bool) -> TorchTrainer:
    """Return what starts the workers, and starts them again when one is lost."""
    scaling = run.experiment.scaling
    timeout_s = 60 * scaling.timeout_minutes
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(timeout_s)
    return TorchTrainer(
        _work,
        train_loop_config=dict(
            Assignment(
                experiment=run.experiment.model_dump(mode="json"),
                dataset=str(data.path),
                folder=str(run.folder),
                reports=bool(callbacks),
            )
        ),
        torch_config=TorchConfig(timeout_s=math.ceil(timeout_s) + 60),  # a worker that hangs is found out before
        scaling_config=ScalingConfig(
            num_workers=(scaling.min_workers, scaling.num_workers) if scaling.min_workers else scaling.num_workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": 1} if gpu else {})},
            placement_strategy="SPREAD",
            # Ray ends the workers to change their number: no sooner than there is a newer checkpoint.
            elastic_resize_monitor_interval_s=max(60.0, 60 * run.experiment.schedule.checkpoint_minutes),
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(run.folder),
            failure_config=FailureConfig(max_failures=scaling.max_failures),
            callbacks=[Incidents(run.folder), *callbacks],
        ),
    )


def _fit(trainer: TorchTrainer, folder: Path) -> bool:
    """Run a trainer, in a thread because in the main one it would replace what Ctrl-C does; return whether it is over.

    It is not if the workers stopped because the machine of one is being taken away.
    """
    ended = Future[bool]()

    def fit() -> None:
        try:
            ended.set_result(bool(trainer.fit().return_value))
        except BaseException as error:  # noqa: BLE001 - it is raised where the thread was started
            ended.set_exception(error)

    threading.Thread(target=fit, daemon=True).start()
    try:
        return ended.result()
    except KeyboardInterrupt:
        if ask_to_stop(folder):
            console.print(f"The workers have {GRACE_S} s to finish their step and to write a checkpoint.")
            try:
                ended.exception(GRACE_S)
            except TimeoutError:
                console.print("They did not: what comes after their last checkpoint is lost.")
        raise


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def uses_gpu(experiment: Experiment) -> bool:
    """Tell whether the workers get a GPU each; ``auto`` takes them if the cluster has enough now."""
    scaling = experiment.scaling
    enough = ray.cluster_resources().get("GPU", 0) >= scaling.least_workers
    return scaling.device == "cuda" or (scaling.device == "auto" and enough)


def awaited(experiment: Experiment) -> str:
    """Say what the workers of a training or of trials wait for; empty if some have a place, or there is room."""
    num, gpu, job = experiment.scaling.least_workers, uses_gpu(experiment), ray.get_runtime_context().get_job_id()
    wanted = {"CPU": num * experiment.scaling.cpus_per_worker, **({"GPU": num} if gpu else {})}
    # A trial of several workers has a place of its own without cores, from which it asks for theirs.
    places = {
        place["state"]
        for key, place in ray.util.placement_group_table().items()
        if key.endswith(job) and any("CPU" in bundle for bundle in place["bundles"].values())
    }
    is_short = any(ray.available_resources().get(name, 0) < amount for name, amount in wanted.items())
    if "CREATED" in places or not (is_short or places & {"PENDING", "RESCHEDULING"}):
        return ""
    return waiting_for(wanted, f"{num} worker{'s' if num > 1 else ''}")


def require_suitable(experiment: Experiment, data: PreparedDataset) -> None:
    """Refuse a dataset on which nothing can be measured, that lacks what the model learns, or of too large images.

    Raises:
        ConfigError: a network of the model does not take images of this size.
        DatasetError: a single image was held out, the images have no classes or masks and the model needs them, or a
            class is smaller than a pack.
    """
    taught = {"classes": (Classifies, data.info.image.classes), "masks": (Segments, data.info.image.masks)}
    for what, (capability, names) in taught.items():
        if issubclass(experiment.model.builds(), capability) and not names:
            raise DatasetError(
                f"{data.path}: its images have no {what}, which a {experiment.model.kind} learns; choose a source with"
                f" {what}, or remove this dataset if its source has them, and prepare it again"
            )
    data.split("train").sampler(seed=0, sampling=experiment.schedule.sampling, pack=experiment.model.pack)
    with torch.device("meta"):  # no memory, no time
        experiment.model.build(data.info.image)
    count = data.info.splits["validation"].images
    if count < 2:
        raise DatasetError(
            f"{data.path}: {count} image in the validation split, and figures compare at least 2; add images, or raise "
            "preparation.validation"
        )


def _refusal(folder: Path) -> TrainingError | None:
    """Return the error of a run that would only end in the same way again."""
    left = ((kind, folder / mark) for kind, mark in MARKS.items())
    return next(
        (kind(f"{folder.name}: {mark.read_text(encoding='utf-8')}") for kind, mark in left if mark.exists()), None
    )


def _work(assignment: Assignment) -> bool:
    """Train as one of the workers; return whether the run is over, with a bundle or because it diverged."""
    experiment, folder = Experiment.model_validate(assignment["experiment"]), Path(assignment["folder"])
    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    # The workers may have been started again after one of them found out.
    if workers.agreed(_refusal(folder) is not None if workers.leads else None):
        return True

    def report(figures: Mapping[str, float]) -> None:
        if assignment["reports"]:  # each report makes the workers wait for each other and for Ray's controller
            ray.train.report(dict(figures))

    def is_leaving() -> bool:
        leaving = ray.train.get_preemption_info() is not None
        if leaving and workers.leads:
            tell(folder, "A machine of the training is being taken away; its workers start again on others.")
        return leaving

    with recording(folder):
        data = cached(Path(assignment["dataset"]), experiment.scaling.cache)
        try:
            training = train_here(
                experiment,
                data,
                folder,
                report=report,
                device=ray.train.torch.get_device(),
                workers=workers,
                is_leaving=is_leaving,
            )
            is_over = training.step == experiment.schedule.steps
            if is_over:
                finish(experiment, data, training, folder / BUNDLE, workers)
        except (Diverged, OutOfMemory) as error:
            with suppress(OSError):  # a full disk does not replace what is wrong
                write_atomic(folder / MARKS[type(error)], str(error).encode())
            if isinstance(error, OutOfMemory) and error.in_all:
                return True
            raise  # a worker that waits for this one would wait forever
    return is_over
