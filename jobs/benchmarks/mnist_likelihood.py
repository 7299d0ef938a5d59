"""Estimate the likelihood of handwritten digits under a VAE and under an IWAE (Burda et al. 2016, table 1).

python jobs/benchmarks/mnist_likelihood.py --data DATA

Both have one layer of latents and see the same digits as often, black and white, drawn anew from their grey levels each
time. What is published was trained for 3,280 epochs and estimated with 5,000 importance samples; here both take
minutes, and fewer samples make the bound looser. One training of each: the standard error is over test digits alone.
Runs that have ended are read from the folder.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ended import keep, reading_data, stored
from jaxtyping import Float
from pydantic import PositiveInt
from rich.table import Table
from torch import Tensor

from rayology.config import Config
from rayology.data.sources.idx import IdxConfig
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec, ValueRange
from rayology.job import run
from rayology.models import Vae
from rayology.noise import derive_seed, indexed_noise
from rayology.progress import console, progress_bar
from rayology.training.loop import Batches, Training, fit

DIGITS = ImageSpec(size=(28, 28), values=ValueRange(low=0, high=255, unit="grey level", levels=256))
PUBLISHED = {"vae": 86.76, "iwae-5": 85.54, "iwae-50": 84.78}  # Burda et al. 2016, table 1, one stochastic layer
OBJECTIVES: Mapping[str, Mapping[str, object]] = {
    "vae": {"kind": "elbo"},
    "iwae-5": {"kind": "iwae", "particles": 5},
}
MODEL: Mapping[str, object] = {
    "kind": "vae",
    "encoder": {"kind": "dense", "width": 512, "depth": 2},
    "decoder": {"kind": "dense", "width": 512, "depth": 2},
    "latents": 50,
    "likelihood": {"kind": "bernoulli"},
}
WANTED = 93.0  # nats, at most
AT_ONCE = 200  # test digits


class MnistLikelihoodConfig(Config):
    """What to train, and where the runs that ended are kept."""

    data: Path = Path("../shared/data")
    """Folder with mnist/, the four files of MNIST."""
    folder: Path = Path(".bench/mnist_likelihood")
    """Folder with a file a run."""
    epochs: PositiveInt = 30
    """Times that each training digit is seen."""
    batch_size: PositiveInt = 100
    """Digits of each step."""
    particles: PositiveInt = 500
    """Importance samples of each test digit."""
    seed: PositiveInt = 1
    """Seed of weights, batches and noise."""
    quick: bool = False
    """One epoch, 1,000 test digits and 50 importance samples."""


@dataclass(frozen=True)
class Ended:
    """What came of a run."""

    nats: tuple[float, ...]
    """What each test digit costs, at most."""
    train_s: float
    evaluate_s: float


def main(config: MnistLikelihoodConfig) -> Mapping[str, object]:
    """Return what a test digit costs under each model, and by how much the second is ahead."""
    if config.quick:
        config = MnistLikelihoodConfig(data=config.data, folder=config.folder, epochs=1, particles=50, quick=True)
    torch.set_num_threads(2)
    folder = config.folder.expanduser().absolute()
    with reading_data(MnistLikelihoodConfig):
        train, test = digits_of(config.data.expanduser().absolute() / "mnist", folder)
    test = test[:1000] if config.quick else test
    ended: dict[str, Ended] = {}
    for name in OBJECTIVES:
        experiment = experiment_of(config, name, num_train=len(train))
        key = {**experiment.model_dump(mode="json"), "particles": config.particles, "digits": len(test)}
        file = folder / f"{name}-{config.epochs}-{config.seed}.json"
        if (found := stored(file, key, Ended)) is None:
            found = trained(experiment, train, test, particles=config.particles, name=name)
            keep(file, key, found)
        ended[name] = found
    means = {name: float(np.mean(each.nats)) for name, each in ended.items()}
    gains = np.subtract(ended["vae"].nats, ended["iwae-5"].nats)
    gain, error = float(gains.mean()), float(gains.std() / math.sqrt(len(gains)))
    shown = Table("model", "nats a digit", "published", "training, s", "estimate, s", title=f"{config.epochs} epochs")
    for name, each in ended.items():
        row = means[name], PUBLISHED[name], each.train_s, each.evaluate_s
        shown.add_row(name, *(f"{figure:.2f}" for figure in row))
    console.print(shown, f"The IWAE is {gain:.2f} nats ahead, with a standard error of {error:.2f}.")
    return {
        "protocol": f"{config.epochs} epochs of {len(train)}, {len(test)} test digits, {config.particles} samples",
        "nats": means,
        "published": PUBLISHED,
        "iwae_ahead": {"nats": gain, "std_error": error},
        "seconds": {name: each.train_s + each.evaluate_s for name, each in ended.items()},
        "met": {"vae_at_most_93": means["vae"] <= WANTED, "iwae_ahead": gain > 1.96 * error},
    }


def experiment_of(config: MnistLikelihoodConfig, name: str, *, num_train: int) -> Experiment:
    """Return the training of a model."""
    steps = config.epochs * num_train // config.batch_size
    schedule = {"steps": steps, "batch_size": config.batch_size, "evaluate_every": steps, "log_every": 100}
    model = {**MODEL, "objective": OBJECTIVES[name]}
    return Experiment.model_validate(
        {"model": model, "seed": config.seed, "optimizer": {"lr": 1e-3}, "schedule": schedule}
    )


def digits_of(path: Path, root: Path) -> tuple[Tensor, Tensor]:
    """Return training and test digits as models see them."""
    source = IdxConfig(path=str(path)).build(root)
    found = {}
    for split, (file, _) in source.files().items():
        levels = torch.from_numpy(np.array(source.map(file), np.float32))
        found[split] = (levels / 127.5 - 1)[:, None]
    return found["train"], found["test"]


def trained(
    experiment: Experiment, train: Float[Tensor, "digit 1 28 28"], test: Tensor, *, particles: int, name: str
) -> Ended:
    """Train a model, and estimate what each test digit costs under its averaged weights."""
    training, began_at = Training.start(experiment, DIGITS, torch.device("cpu")), time.perf_counter()
    with progress_bar(name, "training") as bar:

        def log(training: Training, figures: Mapping[str, float]) -> None:
            terms = ", ".join(f"{path} {figure:.3f}" for path, figure in figures.items() if path.startswith("vae/"))
            bar.advance(training.step, experiment.schedule.steps, terms)

        def nothing(_: Training) -> None: ...

        fit(experiment, training, batches_of(experiment, train), log=log, evaluate=nothing, checkpoint=nothing)
    ended_at = time.perf_counter()
    model = training.average
    assert isinstance(model, Vae)  # noqa: S101 - as the experiment says
    nats = []
    with progress_bar(name, "importance sampling") as bar, torch.inference_mode():
        for start in range(0, len(test), AT_ONCE):
            bar.advance(start, len(test), "test digits")
            images = test[start : start + AT_ONCE]
            noise = indexed_noise(model.bound_noise(particles), seed=0, indices=range(start, start + len(images)))
            bits = model.bits_per_dim(Batch(images, torch.zeros(len(images), dtype=torch.int64)), noise)
            nats += (bits.double() * DIGITS.grid.num_values * math.log(2)).tolist()
    return Ended(tuple(nats), ended_at - began_at, time.perf_counter() - ended_at)


def batches_of(experiment: Experiment, train: Tensor) -> Batches:
    """Return each digit once an epoch, in another order in each."""
    size, num_steps = experiment.schedule.batch_size, len(train) // experiment.schedule.batch_size
    orders: dict[int, Tensor] = {}

    def batch(step: int, rows: slice) -> Batch:
        epoch, place = divmod(step, num_steps)
        if epoch not in orders:
            orders.clear()
            generator = torch.Generator().manual_seed(derive_seed(experiment.seed, "epoch", epoch))
            orders[epoch] = torch.randperm(len(train), generator=generator)
        chosen = orders[epoch][place * size : (place + 1) * size][rows]
        return Batch(train[chosen], torch.zeros(len(chosen), dtype=torch.int64))

    return batch


if __name__ == "__main__":
    run(MnistLikelihoodConfig, main)
