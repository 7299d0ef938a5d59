"""Ray Train around the recipe: workers, checkpoints, and resuming after a worker was lost."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.data.workers import waiting_for
from rayology.errors import DatasetError, Diverged, TrainingError
from rayology.experiment import Experiment
from rayology.interruption import GRACE_S
from rayology.models import Classifies, Segments
from rayology.progress import console
from rayology.training.gradients import Workers
from rayology.training.loop import Training
from rayology.training.run import BUNDLE, INIT, Assignment, Run, finish, start_from, train_here
from rayology.training.stopping import STOP, ask_to_stop

__all__ = ["awaited", "require_room", "require_suitable", "train", "uses_gpu"]


DIVERGED = "diverged.txt"  # left by a run that would only diverge again


def train(run: Run, data: PreparedDataset, *, callbacks: tuple[UserCallback, ...] = ()) -> Bundle:
    """Train on the workers that the experiment asks for and return the bundle, written into the run's folder.

    An interrupted run resumes from its last checkpoint.

    Raises:
        Diverged: a loss or a sample is no longer finite.
        TrainingError: the cluster is too small, or workers were lost too often.
        DatasetError: the validation split holds a single image.
    """
    scaling, gpu = run.experiment.scaling, uses_gpu(run.experiment)
    require_room(run.experiment)
    require_suitable(run.experiment, data)
    require_start(run, data)
    trainer = TorchTrainer(
        _work,
        train_loop_config=dict(
            Assignment(
                experiment=run.experiment.model_dump(mode="json"),
                dataset=str(data.path),
                folder=str(run.folder),
                reports=bool(callbacks),
            )
        ),
        scaling_config=ScalingConfig(
            num_workers=scaling.num_workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker, **({"GPU": 1} if gpu else {})},
            placement_strategy="SPREAD",
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(run.folder),
            failure_config=FailureConfig(max_failures=scaling.max_failures),
            callbacks=list(callbacks),
        ),
    )
    (run.folder / STOP).unlink(missing_ok=True)
    try:
        _fit(trainer, run.folder)
    except ray.train.TrainingFailedError as error:
        if not (run.folder / DIVERGED).exists():
            raise TrainingError(
                f"{run.folder.name}: workers were lost or failed more than {scaling.max_failures} times; the last"
                f" reason: {str(error).strip().splitlines()[-1]}"
            ) from error
    if (run.folder / DIVERGED).exists():
        raise Diverged(f"{run.folder.name}: {(run.folder / DIVERGED).read_text(encoding='utf-8')}")
    return Bundle.load(run.folder / BUNDLE)


def _fit(trainer: TorchTrainer, folder: Path) -> None:
    """Run a trainer in a thread, because in the main one it would replace what Ctrl-C does."""
    ended = Future[None]()

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:  # noqa: BLE001 - it is raised where the thread was started
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=fit, daemon=True).start()
    try:
        ended.result()
    except KeyboardInterrupt:
        if ask_to_stop(folder):
            console.print(f"The workers have {GRACE_S} s to finish their step and to write a checkpoint.")
            try:
                ended.exception(GRACE_S)
            except TimeoutError:
                console.print("They did not: what comes after their last checkpoint is lost.")
        raise


def uses_gpu(experiment: Experiment) -> bool:
    """Tell whether the workers get a GPU each; ``auto`` takes them if the cluster has enough.

    Raises:
        TrainingError: GPUs are asked for and the cluster has too few.
    """
    scaling, gpus = experiment.scaling, ray.cluster_resources().get("GPU", 0)
    if scaling.device == "cuda" and gpus < scaling.num_workers:
        raise TrainingError(
            f"scaling.device is cuda for {scaling.num_workers} workers, the cluster has {gpus:g} GPUs; write auto"
        )
    return scaling.device == "cuda" or (scaling.device == "auto" and gpus >= scaling.num_workers)


def awaited(experiment: Experiment) -> str:
    """Say what the workers of a training or of trials wait for; empty if some have a place, or there is room."""
    num, gpu, job = experiment.scaling.num_workers, uses_gpu(experiment), ray.get_runtime_context().get_job_id()
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
    if scaling.num_workers * scaling.cpus_per_worker > cpus or scaling.cpus_per_worker > largest:
        raise TrainingError(
            f"{scaling.num_workers} workers of {scaling.cpus_per_worker} CPUs do not fit the cluster's {cpus:g}, with"
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


def _work(assignment: Assignment) -> None:
    """Train as one of the workers."""
    experiment, folder = Experiment.model_validate(assignment["experiment"]), Path(assignment["folder"])
    if (folder / DIVERGED).exists():  # the workers were started again after one of them found out
        return
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

    try:
        training = train_here(
            experiment, data, folder, report=report, device=ray.train.torch.get_device(), workers=workers
        )
    except Diverged as error:
        # Raised and not returned: a worker that waits for this one would wait forever.
        if workers.leads:
            (folder / DIVERGED).write_text(str(error), encoding="utf-8")
        raise
    if workers.leads and training.step == experiment.schedule.steps:
        finish(experiment, data, training, folder / BUNDLE)
