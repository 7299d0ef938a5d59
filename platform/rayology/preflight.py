"""What is refused before Ray starts: a storage, a source, a run or a machine that a command could not work with."""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

import ray
import torch

from rayology.data.preparation import PatchesConfig
from rayology.errors import ConfigError, TrainingError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.training.run import Run, open_run

__all__ = ["begin", "joins_cluster", "ray_folder", "require_machine", "require_networks", "require_places"]

RAYS_OWN = "runtime_resources"  # the part of a session's folder into which a submitted working directory is unpacked
PROBE_BYTES = 2**20


def begin(experiment: Experiment, kind: Literal["runs", "sweeps"]) -> Run:
    """Start a run, or find the one to go on with, once all that can be known before Ray starts was found in order.

    Raises:
        ConfigError: the model takes no images of that size, the storage cannot be written, or the source or the run to
            go on with is not there.
        TrainingError: no cluster is joined, and this machine has too few cores or GPUs.
    """
    if experiment.resume in {"", "auto"}:  # else the run that goes on says what it needs
        require_networks(experiment)
        require_places(experiment)
        require_machine(experiment)
    run = open_run(experiment, kind)
    if run.is_resumed and not run.finished():  # else nothing is left to do
        require_places(run.experiment)
        require_machine(run.experiment)
    return run


def require_networks(experiment: Experiment) -> None:
    """Refuse networks that take no images of the size that is prepared; how many channels there are is not known yet.

    Raises:
        ConfigError: names the field of the network and that of the size.
    """
    size = experiment.preparation.size
    is_volume = isinstance(experiment.preparation.cut, PatchesConfig)
    with torch.device("meta"):  # no memory, no time
        experiment.model.build(ImageSpec(size=(size, size, size) if is_volume else (size, size)))


def require_places(experiment: Experiment) -> None:
    """Refuse a storage that cannot be written, or that goes with the cluster, and a source that is not there.

    Raises:
        ConfigError: names the field and what to write instead.
    """
    folder = experiment.storage.expanduser().absolute()
    if RAYS_OWN in folder.parts:
        raise ConfigError(
            f"storage: {folder} lies in a folder of Ray, which goes when the job or the cluster ends; name one that "
            "every node shares"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE_BYTES))
    except OSError as error:
        raise ConfigError(f"storage: {folder}: {error.strerror}; name a folder that can be written") from None
    for name in ("path", "table"):
        place = str(getattr(experiment.source, name, None) or "")
        if place and "://" not in place and not Path(place).expanduser().exists():
            raise ConfigError(f"source.{name}: {place} is not there; write where the images of this machine are")


def require_machine(experiment: Experiment) -> None:
    """Refuse workers that do not fit this machine if no cluster is joined; a cluster is asked once it is there.

    Raises:
        TrainingError: says what there is, and what to lower.
    """
    if joins_cluster():
        return
    scaling, cpus, gpus = experiment.scaling, os.cpu_count() or 1, torch.cuda.device_count()
    if scaling.device == "cuda" and gpus < scaling.least_workers:
        raise TrainingError(
            f"scaling.device is cuda for {scaling.least_workers} workers, this machine has {gpus} GPUs; write auto, or "
            "name a cluster in RAY_ADDRESS"
        )
    if scaling.least_workers * scaling.cpus_per_worker > cpus:
        raise TrainingError(
            f"{scaling.least_workers} workers of {scaling.cpus_per_worker} CPUs do not fit the {cpus} of this machine; "
            "lower scaling.num_workers or scaling.cpus_per_worker, or name a cluster in RAY_ADDRESS"
        )


def joins_cluster() -> bool:
    """Tell whether Ray would join a cluster, and not start one of this machine alone."""
    current = Path(ray_folder(), "ray", "ray_current_cluster")  # where `ray start` says that it runs
    address = os.environ.get("RAY_ADDRESS", "")
    return ray.is_initialized() or (address != "local" and (bool(address) or current.exists()))


def ray_folder() -> str:
    """Return the folder below which Ray has its own, with its sockets."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - as Ray does
