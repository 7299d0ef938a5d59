"""A training that diverged goes on once from its last checkpoint, more slowly, if it is asked to."""

from pathlib import Path

from rayology.atomic import write_atomic
from rayology.errors import Diverged, TrainingError
from rayology.experiment import Experiment

__all__ = ["is_rolled_back", "roll_back", "slowed"]

FILE = "rolled-back.txt"
SLOWER = 0.5  # factor on the learning rate


def is_rolled_back(folder: Path) -> bool:
    """Tell whether a run diverged and went on from a checkpoint."""
    return (folder / FILE).exists()


def slowed(experiment: Experiment) -> Experiment:
    """Return the experiment with the learning rate that a run goes on with once it was rolled back."""
    return experiment.patched({"optimizer": {"lr": SLOWER * experiment.optimizer.lr}})


def roll_back(folder: Path, error: Diverged) -> TrainingError:
    """Return what a training that may go on ends with: who starts the run again finds it rolled back."""
    write_atomic(folder / FILE, str(error).encode())
    return TrainingError(f"{error}; it goes on from the last checkpoint with half the learning rate")
