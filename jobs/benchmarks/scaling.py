"""Count the images a second of one and of two workers on the CPU, and the share that is lost, ours and torch's DDP.

python jobs/benchmarks/scaling.py

The default VAE, one thread a worker, as many images a worker whether there are one or two. Both train the same model by
the same step, and take turns. By the clock, and by the core: a second of computing in either process, which other
work on the machine disturbs less, and which leaves out how long one waits for the other. What follows for GPUs is an
estimate.
"""

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import PositiveInt
from rich.table import Table
from torch import Tensor, distributed, nn, optim
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from rayology.config import Config
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.job import run
from rayology.noise import Noise, batch_noise
from rayology.progress import console
from rayology.training.gradients import ALONE, Workers
from rayology.training.loop import Training, fit

CPU = torch.device("cpu")
WARM_UP = 2  # steps before the clock starts
TOLERANCE = 0.03  # of the images: what two medians of the same differ by here
GIGABYTES_A_SECOND = {8: 300.0, 64: 25.0}  # between GPUs of one node (NVLink), and of eight (200 Gb/s a GPU)
WORTH_HIDING = 0.1  # of a step


class ScalingBenchmarkConfig(Config):
    """What to count."""

    rounds: PositiveInt = 5
    """Times that each is asked in turn."""
    steps: PositiveInt = 6
    """Steps of each time, after two that do not count."""
    size: PositiveInt = 64
    """Rows and columns of the images."""
    images: PositiveInt = 32
    """Images a worker and step."""
    quick: bool = False
    """Two rounds of three steps on 16 images of 32x32."""


@dataclass(frozen=True)
class Task:
    """What each process is told."""

    rounds: int
    steps: int
    size: int
    images: int

    def experiment(self, count: int) -> Experiment:
        """Return the experiment of a number of workers."""
        steps = self.steps + WARM_UP
        return Experiment().patched(
            {
                "schedule": {"steps": steps, "batch_size": count * self.images, "log_every": steps},
                "scaling": {"num_workers": count, "precision": "float32"},
            }
        )


class Clock:
    """Batches, and how long steps took by the clock and by this process."""

    def __init__(self, task: Task) -> None:
        shape = (task.images, 1, task.size, task.size)
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        self.batch = Batch(images, torch.zeros(task.images, dtype=torch.int64))
        self.num_images = task.steps * task.images
        self._at: list[tuple[float, float]] = []

    def take(self) -> Batch:
        """Return the batch of the next step."""
        self._at.append((time.perf_counter(), time.process_time()))
        return self.batch

    def spent(self) -> tuple[float, float]:
        """Return the seconds since the warm-up, by the clock and computed."""
        self.take()
        (started, computed), (ended, until) = self._at[WARM_UP], self._at[-1]
        return ended - started, until - computed


Train = Callable[[Task, Clock, Workers], object]


def ours(task: Task, clock: Clock, workers: Workers) -> None:
    """Train with our loop."""
    experiment = task.experiment(workers.count)
    training = Training.start(experiment, ImageSpec(size=(task.size, task.size)), CPU)

    def ignore(*_: object) -> None: ...

    fit(
        experiment,
        training,
        lambda *_: clock.take(),
        log=ignore,
        evaluate=ignore,
        checkpoint=ignore,
        workers=workers,
    )


class Loss(nn.Module):
    """A model's first phase as a module, which DDP wraps."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.model = training.model
        self.phase = training.model.phases()[0]

    def forward(self, batch: Batch, noise: Noise) -> Tensor:
        """Return the loss of a batch."""
        return torch.stack([term.mean() for term in self.phase.terms(batch, noise).terms.values()]).sum()


def ddp(task: Task, clock: Clock, workers: Workers) -> None:
    """Train in a bare loop, whose gradients DDP averages during the backward pass."""
    experiment = task.experiment(workers.count)
    training = Training.start(experiment, ImageSpec(size=(task.size, task.size)), CPU)
    loss, average = Loss(training), copy.deepcopy(training.model).requires_grad_(requires_grad=False)
    weights: list[Tensor] = [*loss.parameters()]
    optimizer = optim.Adam(weights, lr=experiment.optimizer.lr, betas=loss.phase.betas(0.0), fused=True)
    wrapped = DistributedDataParallel(loss) if workers.count > 1 else loss
    for step in range(experiment.schedule.steps):
        batch = clock.take()
        optimizer.zero_grad()
        noise = batch_noise(loss.phase.noise, seed=workers.rank, purpose="ddp", step=step, count=task.images)
        wrapped(batch, noise).backward()
        nn.utils.clip_grad_norm_(weights, experiment.optimizer.clip_norm)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), weights, 0.01)


TRAINED: Mapping[str, Train] = {"rayology": ours, "torch DDP": ddp}


def work(rank: int, told: str, folder: str) -> None:
    """Train as one of two workers, or look on while the first one trains alone; the first writes what was counted."""
    task = Task(**json.loads(told))
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    spent: dict[str, list[tuple[float, float]]] = {f"{name} {count}": [] for name in TRAINED for count in (1, 2)}
    averaging: list[float] = []
    for _ in range(task.rounds):
        for name, train in TRAINED.items():
            for count in (1, 2):
                distributed.barrier()
                clock = Clock(task)
                if rank < count:
                    train(task, clock, ALONE if count == 1 else Workers(rank, count))
                    spent[f"{name} {count}"].append(together(clock.spent(), count))
        averaging.append(seconds_of_averaging(task, Workers(rank, 2)))
    if rank == 0:
        figures = {"spent": spent, "averaging": averaging, "bytes": num_bytes(task)}
        (Path(folder) / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    distributed.destroy_process_group()


def together(spent: tuple[float, float], count: int) -> tuple[float, float]:
    """Return the time by the clock of this process, and what all have computed."""
    computed = torch.tensor(spent[1])
    if count > 1:
        distributed.all_reduce(computed)
    return spent[0], float(computed)


def seconds_of_averaging(task: Task, workers: Workers) -> float:
    """Return how long it takes to average gradients of the model's size, when no worker waits for another."""
    gradients = [torch.ones_like(weight) for weight in model_of(task).parameters()]
    distributed.barrier()
    started_at = time.perf_counter()
    for _ in range(task.steps):
        workers.sum(gradients)
    return (time.perf_counter() - started_at) / task.steps


def num_bytes(task: Task) -> int:
    """Return the size of the model's gradients."""
    return sum(weight.nbytes for weight in model_of(task).parameters())


def model_of(task: Task) -> nn.Module:
    """Return the model that is trained."""
    return Training.start(task.experiment(1), ImageSpec(size=(task.size, task.size)), CPU).model


def main(config: ScalingBenchmarkConfig) -> Mapping[str, object]:
    """Return the median images a second, the share that two workers lose, and what that means for GPUs."""
    task = Task(2, 3, 32, 16) if config.quick else Task(config.rounds, config.steps, config.size, config.images)
    with tempfile.TemporaryDirectory() as folder:
        start_processes(work, (json.dumps(asdict(task)), folder), nprocs=2)
        found = json.loads((Path(folder) / "figures.json").read_text(encoding="utf-8"))

    spent, rates, lost = found["spent"], {}, {}
    for name in TRAINED:
        for place, by in enumerate(("clock", "core")):
            alone, two = ([each[place] for each in spent[f"{name} {count}"]] for count in (1, 2))
            # Twice the images in the same time by the clock, or in twice the seconds of computing.
            ideal = [2 * first if by == "core" else first for first in alone]
            lost[f"{name}/{by}"] = round(
                statistics.median(1 - best / real for best, real in zip(ideal, two, strict=True)), 3
            )
            for count, seconds in ((1, alone), (2, two)):
                images = count * task.steps * task.images
                rates[f"{name}/{count}/{by}"] = round(images / statistics.median(seconds), 1)

    step_s = statistics.median(each[0] for each in spent["rayology 2"]) / task.steps
    averaging = statistics.median(found["averaging"]) / step_s
    estimates = {str(count): estimate(found["bytes"], count) for count in GIGABYTES_A_SECOND}
    console.print(table(rates, lost))
    console.print(f"averaging takes {averaging:.1%} of a step of two workers, the most that overlap could hide")
    console.print(arithmetic(estimates, found["bytes"], step_s))
    return {
        "images_a_second": rates,
        "lost": lost,
        "averaging": round(averaging, 3),
        "step_ms": round(1e3 * step_s, 1),
        "estimates": estimates,
        "met": {
            "loses_no_more_than_ddp": lost["rayology/core"] <= lost["torch DDP/core"] + TOLERANCE,
            "averaging_is_below_a_tenth": averaging < WORTH_HIDING,
        },
    }


def estimate(num_bytes: int, count: int) -> dict[str, float]:
    """Return the milliseconds of a ring all-reduce, and of the step below which it costs more than a tenth.

    Each process sends 2 (n - 1) / n times the gradients (Patarasuk & Yuan 2009).
    """
    milliseconds = 1e3 * 2 * (count - 1) / count * num_bytes / (GIGABYTES_A_SECOND[count] * 1e9)
    return {"all_reduce_ms": round(milliseconds, 3), "step_ms": round(milliseconds / WORTH_HIDING, 2)}


def table(rates: Mapping[str, float], lost: Mapping[str, float]) -> Table:
    """Return a row each for ours and DDP."""
    shown = Table("images a second", "1 worker", "2 workers", "lost", "a core: 1 worker", "2 workers", "lost")
    for name in TRAINED:
        cells = [
            cell
            for by in ("clock", "core")
            for cell in (
                f"{rates[f'{name}/1/{by}']:,.0f}",
                f"{rates[f'{name}/2/{by}']:,.0f}",
                f"{lost[f'{name}/{by}']:.1%}",
            )
        ]
        shown.add_row(name, *cells)
    return shown


def arithmetic(estimates: Mapping[str, Mapping[str, float]], num_bytes: int, step_s: float) -> Table:
    """Return what averaging would take on GPUs: estimated, not measured."""
    size, step = f"estimate for {num_bytes / 1e6:.1f} MB of gradients", f"of the step here, {1e3 * step_s:.0f} ms"
    shown = Table(size, "GB/s", "all-reduce, ms", step, "10 % of a step of, ms")
    for count, times in estimates.items():
        took, bandwidth = times["all_reduce_ms"], GIGABYTES_A_SECOND[int(count)]
        shown.add_row(
            f"{count} GPUs", f"{bandwidth:g}", f"{took:g}", f"{1e-3 * took / step_s:.3%}", f"{times['step_ms']:g}"
        )
    return shown


if __name__ == "__main__":
    run(ScalingBenchmarkConfig, main)
