"""Ray Train around the recipe: workers, checkpoints, and resuming after a worker was lost."""

import math
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.data.workers import waiting_for
from rayology.errors import DatasetError, Diverged, OutOfMemory, TrainingError
from rayology.experiment import Experiment
from rayology.interruption import GRACE_S
from rayology.models import Classifies, Segments
from rayology.progress import console
from rayology.training.checkpoint import newest_step
from rayology.training.gradients import Workers
from rayology.training.incidents import recording, tell
from rayology.training.loop import Training
from rayology.training.observer import CHECKPOINTS
from rayology.training.run import BUNDLE, INIT, Assignment, Run
from rayology.training.stopping import STOP, ask_to_stop
from rayology.training.worker import finish, start_from, train_here

__all__ = ["awaited", "require_room", "require_suitable", "train", "uses_gpu"]


MARKS: Mapping[type[TrainingError], str] = {Diverged: "diverged.txt", OutOfMemory: "out-of-memory.txt"}
"""File left by a run that would only end in the same way again if its workers were started again."""


class Incidents(UserCallback):  # type: ignore[misc] # Ray has no types for it
    """Has Ray's controller, a process of its own, tell of workers that were lost or failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = ""

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Tell of the first to go; those that waited for it fail because it did."""
        del run_context
        lost = [rank for rank, error in worker_exceptions.items() if "health check" in str(error)]  # Ray's words
        rank = min(lost or worker_exceptions)
        reason = "its process or machine was lost" if lost else _last_line(worker_exceptions[rank])[:200]
        if "gloo" in reason:  # in its messages of several lines
            reason = "it waited for one that was lost"
        sentence = (
            f"Worker {rank} of the training ended ({reason}); its workers start again from the newest checkpoint."
        )
        if sentence != self._told:
            self._told = sentence
            tell(self._folder, sentence)


def train(run: Run, data: PreparedDataset, *, callbacks: tuple[UserCallback, ...] = ()) -> Bundle:
    """Train on the workers that the experiment asks for and return the bundle, written into the run's folder.

    An interrupted run resumes from its newest checkpoint. So does one that lost a worker, and one of which a node is
    about to be taken away.

    Raises:
        Diverged: a loss or a sample is no longer finite.
        OutOfMemory: a step takes more memory than a worker has.
        TrainingError: the cluster is too small, or workers were lost too often.
        DatasetError: the validation split holds a single image.
    """
    require_room(run.experiment)
    require_suitable(run.experiment, data)
    require_start(run, data)
    for left in (STOP, MARKS[OutOfMemory]):  # there may be more memory now
        (run.folder / left).unlink(missing_ok=True)
    is_over = False
    while not is_over:
        before = newest_step(run.folder / CHECKPOINTS)
        try:
            is_over = _fit(_trainer(run, data, callbacks), run.folder)
        except ray.train.TrainingFailedError as error:
            is_over = _refusal(run.folder) is not None
            if not is_over and newest_step(run.folder / CHECKPOINTS) == before:
                raise TrainingError(
                    f"{run.folder.name}: workers were lost or failed more than {run.experiment.scaling.max_failures}"
                    f" times in a row; the last reason: {_last_line(error)}"
                ) from error
    if refusal := _refusal(run.folder):
        raise refusal
    return Bundle.load(run.folder / BUNDLE)


def _trainer(run: Run, data: PreparedDataset, callbacks: tuple[UserCallback, ...]) -> TorchTrainer:
    """Return what starts the workers, and starts them again when one is lost."""
    scaling, gpu = run.experiment.scaling, uses_gpu(run.experiment)
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
    return str(error).strip().splitlines()[-1]


def uses_gpu(experiment: Experiment) -> bool:
    """Tell whether the workers get a GPU each; ``auto`` takes them if the cluster has enough.

    Raises:
        TrainingError: GPUs are asked for and the cluster has too few.
    """
    scaling, gpus = experiment.scaling, ray.cluster_resources().get("GPU", 0)
    if scaling.device == "cuda" and gpus < scaling.least_workers:
        raise TrainingError(
            f"scaling.device is cuda for {scaling.least_workers} workers, the cluster has {gpus:g} GPUs; write auto"
        )
    return scaling.device == "cuda" or (scaling.device == "auto" and gpus >= scaling.least_workers)


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


def require_room(experiment: Experiment) -> None:
    """Refuse workers that the cluster could never start.

    Raises:
        TrainingError: the cluster has too few CPU cores in all, or on its largest node.
    """
    scaling, cpus = experiment.scaling, ray.cluster_resources().get("CPU", 0)
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if scaling.least_workers * scaling.cpus_per_worker > cpus or scaling.cpus_per_worker > largest:
        raise TrainingError(
            f"{scaling.least_workers} workers of {scaling.cpus_per_worker} CPUs do not fit the cluster's {cpus:g}, with"
            f" {largest:g} on its largest node; lower scaling.num_workers or scaling.cpus_per_worker"
        )


def require_start(run: Run, data: PreparedDataset) -> None:
    """Refuse initial weights that do not fit, before any worker is started.

    Raises:
        ConfigError: they are of another architecture, or of other images.
    """
    if "model" in run.experiment.init:
        training = Training.start(run.experiment, data.info.image, torch.device("cpu"))
        start_from(training, Bundle.load(run.folder / INIT / "model"))


def require_suitable(experiment: Experiment, data: PreparedDataset) -> None:
    """Refuse a dataset on which nothing can be measured, or that lacks what the model learns.

    Raises:
        DatasetError: a single image was held out, or the images have no classes or masks and the model needs them.
    """
    taught = {"classes": (Classifies, data.info.image.classes), "masks": (Segments, data.info.image.masks)}
    for what, (capability, names) in taught.items():
        if issubclass(experiment.model.builds(), capability) and not names:
            raise DatasetError(
                f"{data.path}: its images have no {what}, which a {experiment.model.kind} learns; choose a source with"
                f" {what}, or remove this dataset if its source has them, and prepare it again"
            )
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
    if _refusal(folder):  # the workers were started again after one of them found out
        return True
    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    if workers.count > experiment.microbatches:
        raise TrainingError(
            f"{workers.count} workers share {experiment.microbatches} pieces of a batch; raise scaling.microbatches"
        )
    data = PreparedDataset.open(Path(assignment["dataset"]))

    def report(figures: Mapping[str, float]) -> None:
        if assignment["reports"]:  # each report makes the workers wait for each other and for Ray's controller
            ray.train.report(dict(figures))

    def is_leaving() -> bool:
        leaving = ray.train.get_preemption_info() is not None
        if leaving and workers.leads:
            tell(folder, "A machine of the training is being taken away; its workers start again on others.")
        return leaving

    with recording(folder):
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
        except (Diverged, OutOfMemory) as error:
            (folder / MARKS[type(error)]).write_text(str(error), encoding="utf-8")
            if isinstance(error, OutOfMemory) and error.in_all:
                return True
            raise  # a worker that waits for this one would wait forever
    is_over = training.step == experiment.schedule.steps
    if workers.leads and is_over:
        finish(experiment, data, training, folder / BUNDLE)
    return is_over
