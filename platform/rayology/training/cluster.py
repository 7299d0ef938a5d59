"""Ray Train around the recipe: workers, checkpoints, and going on after one was lost."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import ray
import ray.train
import ray.train.torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.errors import RayologyError, TrainingError
from rayology.experiment import Experiment
from rayology.training.gradients import Workers
from rayology.training.run import BUNDLE, Run, finish, train_here

__all__ = ["train", "uses_gpu"]


class Assignment(TypedDict):
    """What the driver tells each worker, in plain values."""

    experiment: dict[str, object]
    dataset: str
    folder: str


def train(run: Run, data: PreparedDataset, *, callbacks: tuple[UserCallback, ...] = ()) -> Bundle:
    """Train on the workers that the experiment asks for and return the bundle, written into the run's folder.

    A run that was ended goes on from its last checkpoint.

    Raises:
        TrainingError: the cluster is too small, the training diverged, or workers were lost too often.
    """
    scaling, gpu = run.experiment.scaling, uses_gpu(run.experiment)
    _fits(run.experiment)
    trainer = TorchTrainer(
        _work,
        train_loop_config=dict(
            Assignment(
                experiment=run.experiment.model_dump(mode="json"), dataset=str(data.path), folder=str(run.folder)
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
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            callbacks=list(callbacks),
        ),
    )
    try:
        failure = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        raise TrainingError(
            f"{run.folder.name}: workers were lost or failed more than {scaling.max_failures} times; the last reason: "
            f"{str(error).strip().splitlines()[-1]}"
        ) from error
    if failure:
        raise TrainingError(f"{run.folder.name}: {failure}")
    return Bundle.load(run.folder / BUNDLE)


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


def _fits(experiment: Experiment) -> None:
    """Refuse what would wait for ever."""
    scaling, cpus = experiment.scaling, ray.cluster_resources().get("CPU", 0)
    if scaling.num_workers * scaling.cpus_per_worker > cpus:
        raise TrainingError(
            f"{scaling.num_workers} workers of {scaling.cpus_per_worker} CPUs do not fit the cluster's {cpus:g};"
            " lower scaling.num_workers or scaling.cpus_per_worker"
        )


def _work(assignment: Assignment) -> str:
    """Train as one of the workers; return why it failed, where trying again would fail alike."""
    experiment, folder = Experiment.model_validate(assignment["experiment"]), Path(assignment["folder"])
    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    data = PreparedDataset.open(Path(assignment["dataset"]))

    def report(figures: Mapping[str, float], checkpoint: Path | None) -> None:
        kept = Checkpoint.from_directory(str(checkpoint)) if checkpoint else None
        ray.train.report(dict(figures), checkpoint=kept)

    def continue_from(start: Path | None) -> None:
        device = ray.train.torch.get_device()
        training = train_here(experiment, data, folder, start=start, report=report, device=device, workers=workers)
        if workers.leads:
            shutil.rmtree(folder / BUNDLE, ignore_errors=True)
            finish(experiment, data, training, folder / BUNDLE)

    try:
        if last := ray.train.get_checkpoint():
            with last.as_directory() as start:
                continue_from(Path(start))
        else:
            continue_from(None)
    except RayologyError as error:
        return str(error)
    return ""
