"""Time a training step of each model in float32 and in bf16 on this machine's first device, interleaved.

python jobs/benchmarks/precision.py
"""

import statistics
import time
from collections.abc import Mapping

import torch
from pydantic import PositiveInt
from rich.table import Table

from rayology.config import Config
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.job import run
from rayology.models import GanConfig, VaeConfig
from rayology.progress import console
from rayology.training.loop import Training, fit

PRECISIONS = ("float32", "bf16")
MODELS = (VaeConfig(), GanConfig())


class PrecisionConfig(Config):
    """What to time."""

    rounds: PositiveInt = 5
    """Times that each combination is timed."""
    steps: PositiveInt = 5
    """Steps of each time."""


def main(config: PrecisionConfig) -> Mapping[str, object]:
    """Return the median milliseconds of a step for each model and precision, and how much faster bf16 is."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    combinations = [(model, precision) for model in MODELS for precision in PRECISIONS]
    times: dict[str, list[float]] = {f"{model.kind} {precision}": [] for model, precision in combinations}
    for _ in range(config.rounds + 1):
        for model, precision in combinations:
            experiment = Experiment().patched(
                {
                    "model": model.model_dump(),
                    "scaling": {"precision": precision},
                    "schedule": {"steps": config.steps, "log_every": config.steps},
                }
            )
            times[f"{model.kind} {precision}"].append(milliseconds_a_step(experiment, device))

    medians = {name: round(statistics.median(each[1:]), 1) for name, each in times.items()}  # the first round warms up
    table = Table("model", *PRECISIONS, "speed-up")
    ratios = {model.kind: medians[f"{model.kind} float32"] / medians[f"{model.kind} bf16"] for model in MODELS}
    for model in MODELS:
        shown = (str(medians[f"{model.kind} {precision}"]) for precision in PRECISIONS)
        table.add_row(model.kind, *shown, f"{ratios[model.kind]:.2f}")
    console.print(table)
    return {"milliseconds": medians, "speed_up": ratios, "device": str(device)}


def milliseconds_a_step(experiment: Experiment, device: torch.device) -> float:
    """Train a few steps on random images of 64x64."""
    image = ImageSpec(classes=("a", "b"))
    training = Training.start(experiment, image, device)
    batch = Batch(torch.rand(32, *image.shape, device=device) * 2 - 1, torch.arange(32, device=device) % 2)
    started_at = time.perf_counter()
    # Logging the last step waits for the device.
    fit(experiment, training, lambda *_: batch, log=lambda *_: None, evaluate=lambda _: None, checkpoint=lambda _: None)
    return 1000 * (time.perf_counter() - started_at) / experiment.schedule.steps


if __name__ == "__main__":
    run(PrecisionConfig, main)
