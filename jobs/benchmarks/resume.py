"""Kill trainings at random steps and resume them: the weights must end bit for bit as if nothing had happened.

python jobs/benchmarks/resume.py
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from rich.table import Table
from safetensors.torch import load_file
from torch import distributed

from rayology.config import Config
from rayology.data import PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.experiment import Experiment, ScalingConfig, ScheduleConfig
from rayology.job import run
from rayology.models import GanConfig, ModelConfig, VaeConfig
from rayology.models.adaptive import AdaptiveConfig
from rayology.models.backbones import ResNetConfig
from rayology.progress import console, progress_bar
from rayology.training.checkpoint import newest
from rayology.training.gradients import Workers
from rayology.training.history import read
from rayology.training.observer import CHECKPOINTS
from rayology.training.worker import train_here

TIMEOUT_S = 300.0
SMALL = ResNetConfig(width=8)
QUICK = ("vae-1", "gan-2")


class ResumeConfig(Config):
    """What to kill, and how often."""

    kills: PositiveInt = 4
    """How often each training is killed."""
    steps: PositiveInt = 60
    """Steps of each training; a checkpoint is due after every fifth."""
    seed: NonNegativeInt = 0
    """What the steps and the processes to kill are drawn from."""
    trainings: tuple[str, ...] = ()
    """Names of the trainings to kill, such as vae-2 for a VAE on two workers; empty for all, and for some that go from
    two workers to three, and then to one."""
    quick: bool = False
    """One kill each of a VAE on one worker and a GAN on two, and nothing else."""


@dataclass(frozen=True)
class Case:
    """A training of a number of processes."""

    name: str
    experiment: Experiment
    dataset: Path

    def start(self, folder: Path, count: int = 0) -> list[BaseProcess]:
        """Start the processes, as many as the experiment says if not told, which go on from the newest checkpoint."""
        folder.mkdir(parents=True, exist_ok=True)
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__, "rayology.training.worker"])
        count = count or self.experiment.scaling.num_workers
        meeting = Path(tempfile.mkdtemp()) / "meeting"
        told = (self.experiment.model_dump_json(), str(self.dataset), str(folder), str(meeting), count)
        processes: list[BaseProcess] = [context.Process(target=train_one, args=(rank, *told)) for rank in range(count)]
        for process in processes:
            process.start()
        return processes

    def finish(self, folder: Path, count: int = 0) -> str:
        """Train to the end, and return the name of the last checkpoint, which holds the hash of its content."""
        for process in self.start(folder, count):
            process.join(TIMEOUT_S)
            if process.exitcode != 0:
                raise RuntimeError(f"{self.name}: a process ended with {process.exitcode}")
        last = newest(folder / CHECKPOINTS)
        return "" if last is None else last.name

    def kill(self, folder: Path, draw: np.random.Generator, count: int = 0) -> int:
        """Train from where it is to a random later step and kill a random process there; return the step."""
        step = step_of(folder)
        target = int(draw.integers(step + 1, max(step + 2, (step + self.experiment.schedule.steps) // 2)))
        processes = self.start(folder, count)
        deadline = time.monotonic() + TIMEOUT_S
        while step_of(folder) < target and all(each.is_alive() for each in processes) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(float(draw.uniform(0, 0.02)))
        processes.insert(0, processes.pop(int(draw.integers(len(processes)))))
        killed = step_of(folder)
        for process in processes:  # one is killed, and then, as a cluster does, those that wait for it
            process.kill()
            process.join()
        return killed

    def resize(self, folder: Path, draw: np.random.Generator) -> float:
        """Kill it under two workers, then under three, and let one end it; return how far that is from one alone.

        The largest difference of a weight, in units of the largest weight.
        """
        for count in (2, 3):
            self.kill(folder / "resized", draw, count)
        ended = [
            load_file(folder / name / CHECKPOINTS / self.finish(folder / name, 1)) for name in ("resized", "alone")
        ]
        weights = [name for name in ended[1] if not name.startswith("optimizer.")]
        apart = max(float((ended[0][name] - ended[1][name]).abs().max()) for name in weights)
        return apart / max(float(ended[1][name].abs().max()) for name in weights)


def train_one(  # noqa: PLR0917 - a process is told by place
    rank: int, experiment: str, dataset: str, folder: str, meeting: str, count: int
) -> None:
    """Train as one of several processes."""
    if count > 1:
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    train_here(
        Experiment.model_validate_json(experiment),
        PreparedDataset.open(Path(dataset)),
        Path(folder),
        report=lambda _: None,
        device=torch.device("cpu"),
        workers=Workers(rank, count),
    )
    if count > 1:
        distributed.destroy_process_group()


def step_of(folder: Path) -> int:
    """Return the last step in a history."""
    return max((int(line["step"]) for line in read(folder)), default=0)


def models() -> Iterator[tuple[str, ModelConfig]]:
    """Yield small models of every kind, and one whose augmentation adapts."""
    yield "vae", VaeConfig(encoder=SMALL, decoder=SMALL)
    yield "gan", GanConfig(generator=SMALL, critic=SMALL)
    eager = AdaptiveConfig(rotate=0.8, intensity=0.8, noise=0.8, target=-0.1, ramp_images=256)
    yield "gan-adaptive", GanConfig(generator=SMALL, critic=SMALL, adaptive=eager)


def main(config: ResumeConfig) -> Mapping[str, object]:
    """Return how many trainings were killed how often, and how many ended with other weights."""
    kills, draw = 1 if config.quick else config.kills, np.random.default_rng(config.seed)
    wanted = QUICK if config.quick else config.trainings
    table = Table("training", "workers", "killed after step", "same bits")
    others, count = [], 0
    with tempfile.TemporaryDirectory() as scratch, progress_bar("resume") as bar:
        root = Path(scratch)
        data = prepare(PhantomConfig(patients=12, slices=2, size=32), PreparationConfig(size=16), root)
        schedule = ScheduleConfig(
            steps=config.steps, batch_size=16, warmup_steps=5, evaluate_every=20, checkpoint_every=5, log_every=1
        )
        cases = [
            Case(
                f"{name}-{workers}",
                Experiment(model=model, schedule=schedule, scaling=ScalingConfig(num_workers=workers)),
                data.path,
            )
            for name, model in models()
            for workers in (1, 2)
            if not wanted or f"{name}-{workers}" in wanted
        ]
        for number, case in enumerate(cases):
            bar.advance(number, len(cases), case.name)
            whole, disturbed = root / "whole" / case.name, root / "disturbed" / case.name
            untouched = case.finish(whole)
            killed = [case.kill(disturbed, draw) for _ in range(kills)]
            same = case.finish(disturbed) == untouched
            count += kills
            others += [] if same else [case.name]
            table.add_row(*case.name.rsplit("-", 1), ", ".join(map(str, killed)), "yes" if same else "NO")
        shared = ScalingConfig(num_workers=4, precision="float64")
        resized = {
            name: Case(name, Experiment(model=model, schedule=schedule, scaling=shared), data.path).resize(
                root / f"{name}-resized", draw
            )
            for name, model in models()
            if not wanted
        }
    console.print(table)
    for name, apart in resized.items():
        console.print(f"{name}: two workers, then three, then one end {apart:.1g} away from one alone, in float64.")
    return {
        "kills": count,
        "trainings": len(cases),
        "other_bits": others,
        "resized": resized,
        "met": {"same_bits": not others, "resized_within_1e-6": all(apart < 1e-6 for apart in resized.values())},
    }


if __name__ == "__main__":
    run(ResumeConfig, main)
