"""Hold the memory that a training is said to take against what it takes, each in a process of its own.

python jobs/benchmarks/memory.py

On a CPU that is how far the process grows, with work space and gaps; on a GPU what torch holds at most.
"""

import os
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pydantic import PositiveInt
from rich.table import Table

from rayology.config import Config
from rayology.errors import OutOfMemory
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.job import run
from rayology.models import GanConfig, VaeConfig
from rayology.progress import console, progress_bar
from rayology.session import KEEP_FREED_MEMORY
from rayology.training.gradients import ALONE
from rayology.training.loop import Training, fit
from rayology.training.memory import cut_to_fit, footprint

MODELS = {"vae": VaeConfig(), "gan": GanConfig()}
TOLERANCE = 0.25
MOST_SECONDS = 1.0  # of computing, so that other work on the machine does not count
ABSURD = 2**20  # the largest batch that can be written


class MemoryConfig(Config):
    """What to measure."""

    sizes: tuple[PositiveInt, ...] = (64,)
    """Rows and columns of the images."""
    batch_sizes: tuple[PositiveInt, ...] = (32, 256)
    """Images in a step."""
    quick: bool = False
    """Whether to measure the smallest batches alone."""


def main(config: MemoryConfig) -> Mapping[str, object]:
    """Return what was said and what was taken in bytes, for each model, size and batch."""
    os.environ.update(KEEP_FREED_MEMORY)  # as workers have it
    batch_sizes = config.batch_sizes[:1] if config.quick else config.batch_sizes
    cases = [(kind, size, count) for kind in MODELS for size in config.sizes for count in batch_sizes]
    table = Table("model", "size", "batch", "said", "taken", "said/taken", "seconds to say it")
    measured: dict[str, dict[str, float]] = {}
    with progress_bar("memory") as bar, get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for done, case in enumerate(cases):
            bar.advance(done, len(cases), " ".join(map(str, case)))
            found = processes.apply(measure, case)
            measured["-".join(map(str, case))] = found
            shown = [f"{found[name] / 1e6:,.0f} MB" for name in ("said", "taken")]
            table.add_row(*map(str, case), *shown, f"{found['ratio']:.2f}", f"{found['seconds']:.2f}")
    console.print(table)
    met = {
        "within_25_percent": all(abs(found["ratio"] - 1) <= TOLERANCE for found in measured.values()),
        "under_a_second": all(found["seconds"] < MOST_SECONDS for found in measured.values()),
        "absurd_batch_refused": refuses_absurd(),
    }
    return {"measured": measured, "met": met}


def measure(kind: str, size: int, batch_size: int) -> dict[str, float]:
    """Ask what two steps take, then take them."""
    torch.set_num_threads(1)
    image = ImageSpec(size=(size, size), classes=("a", "b", "c"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    experiment = Experiment().patched(
        {"model": MODELS[kind].model_dump(), "schedule": {"steps": 2, "batch_size": batch_size}}
    )
    footprint(experiment, image, device)  # loads what every training loads
    started_at = time.process_time()
    said = footprint(experiment, image, device).peak(experiment)
    seconds = time.process_time() - started_at
    before = reset_peak(device)
    train(experiment, image, device)
    taken = peak(device) - before
    return {"said": said, "taken": taken, "ratio": said / taken, "seconds": seconds}


def train(experiment: Experiment, image: ImageSpec, device: torch.device) -> None:
    """Take the steps on noise."""
    training = Training.start(experiment, image, device)
    count = experiment.schedule.batch_size
    labels = torch.arange(count, device=device) % len(image.classes)

    def batches(*_: object) -> Batch:
        return Batch(torch.rand(count, *image.shape, device=device) * 2 - 1, labels)

    fit(experiment, training, batches, log=lambda *_: None, evaluate=lambda _: None, checkpoint=lambda _: None)


def reset_peak(device: torch.device) -> float:
    """Forget the peak so far; return what is held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return float(torch.cuda.memory_allocated(device))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS")


def peak(device: torch.device) -> float:
    """Return the most that was held since."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else status("VmHWM")


def status(name: str) -> float:
    """Return a number of bytes that the kernel knows of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(name))


def refuses_absurd() -> bool:
    """Tell whether a batch that no machine holds is refused."""
    experiment = Experiment().patched({"schedule": {"batch_size": ABSURD}})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory() as folder:
        try:
            cut_to_fit(experiment, ImageSpec(), device, Path(folder), ALONE, begins=True)
        except OutOfMemory as error:
            console.print(f"A batch of {ABSURD}: {error}.", highlight=False)
            return True
    return False


if __name__ == "__main__":
    run(MemoryConfig, main)
