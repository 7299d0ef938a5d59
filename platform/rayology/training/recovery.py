"""A training that diverged goes on once from its last checkpoint, more slowly, if it is asked to."""

from pathlib import Path

from rayology.atomic import write_atomic
from rayology.errors import Diverged, RolledBack
from rayology.experiment import Experiment
from rayology.training.checkpoint import newest_step, remove_newer
from rayology.training.observer import CHECKPOINTS

__all__ = ["is_rolled_back", "roll_back", "slowed"]

FILE = "rolled-back.txt"
SLOWER = 0.5  # factor on the learning rate


def is_rolled_back(folder: Path) -> bool:
    """Tell whether a run diverged and went on from a checkpoint."""
    return (folder / FILE).exists()


def slowed(experiment: Experiment) -> Experiment:
    """Return the experiment with the learning rate that a run goes on with once it was rolled back."""
    return experiment.patched({"optimizer": {"lr": SLOWER * experiment.optimizer.lr}})


def roll_back(folder: Path, error: Diverged) -> RolledBack:
    """Return what a training that may go on ends with: who starts the run again finds it rolled back."""
    if error.sound_until is not None:
        remove_newer(folder / CHECKPOINTS, error.sound_until)
    write_atomic(folder / FILE, str(error).encode())
    return RolledBack(f"{error}; it goes on from step {newest_step(folder / CHECKPOINTS)} with half the learning rate")
