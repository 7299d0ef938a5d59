"""Count the modes of stacked MNIST that a GAN covers: three digits as three channels, 1,000 modes (Metz et al. 2017).

python jobs/benchmarks/stacked_mnist.py --data DATA

The GAN is the default one without classes, on images of 28x28. Which digits it drew is told by a classifier of real
ones. A run is a seed; those that have ended are read from the folder. The default is far shorter than what is published
(Lin et al. 2018, table 3): it shows how far the GAN gets on a CPU.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from ended import keep, reading_data, stored
from jaxtyping import Float, Int
from pydantic import PositiveInt
from rich.table import Table
from torch import Tensor

from rayology.config import Config
from rayology.data.sources.idx import IdxConfig
from rayology.errors import Diverged
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec, ValueRange
from rayology.job import run
from rayology.metrics.class_accuracy import ReferenceClassifier
from rayology.models import Generates, Model
from rayology.noise import derive_seed, indexed_noise
from rayology.picture import labelled_sheet
from rayology.progress import console, progress_bar
from rayology.training.loop import Batches, Training, fit

GREY = ValueRange(low=0, high=255, unit="grey level", levels=256)
STACK = ImageSpec(size=(28, 28), channels=3, values=GREY)
NUM_MODES, NUM_SAMPLES, AT_ONCE = 1000, 26_000, 500
PUBLISHED = {"modes": 1000.0, "kl": 0.06}  # packs of 2 (Lin et al. 2018, table 3)
WEIGHTS = ("last", "averaged")
QUICK_STEPS, QUICK_SAMPLES = 10, 1_000


class StackedMnistConfig(Config):
    """What to train, and where the runs that ended are kept."""

    data: Path = Path("../shared/data")
    """Folder with mnist/, the four files of MNIST."""
    folder: Path = Path(".bench/stacked_mnist")
    """Folder with a file and a sheet a run."""
    seeds: PositiveInt = 3
    """Number of runs."""
    steps: PositiveInt = 2000
    """Steps of each run."""
    batch_size: PositiveInt = 32
    """Images of each step."""
    quick: bool = False
    """One seed, ten steps and 1,000 samples: it shows that the benchmark runs."""


@dataclass(frozen=True)
class Digits:
    """MNIST, and who reads it."""

    images: Float[Tensor, "digit 1 28 28"]
    classifier: ReferenceClassifier
    accuracy: float
    """Share of the test images that the classifier reads right."""
    real: Mapping[str, float]
    """Coverage by stacks of test images."""


@dataclass(frozen=True)
class Covered:
    """What came of a run."""

    drawn: Mapping[str, Mapping[str, float]]
    """Coverage by the last and the averaged weights."""
    minutes: float
    """Time that the training computed."""
    diverged: str
    """What was not finite; empty if everything was."""


def main(config: StackedMnistConfig) -> Mapping[str, object]:
    """Return the modes and the divergence of the last and the averaged weights."""
    torch.set_num_threads(1)
    folder = config.folder.expanduser().absolute()
    num_samples = QUICK_SAMPLES if config.quick else NUM_SAMPLES
    with reading_data(StackedMnistConfig):
        digits = digits_of(config.data.expanduser().absolute() / "mnist", folder, num_samples)
    ended: list[Covered] = []
    for seed in range(1 if config.quick else config.seeds):
        own = experiment(config, seed)
        file, key = folder / f"{own.schedule.steps}-{seed}.json", own.model_dump(mode="json")
        if (found := stored(file, key, Covered)) is None:
            found = train(own, digits, num_samples, file.with_suffix(".png"))
            keep(file, key, found)
        ended.append(found)
    means = {
        name: {figure: statistics.mean(each.drawn[name][figure] for each in ended) for figure in digits.real}
        for name in WEIGHTS
    }
    rows = {**means, "test digits": digits.real, "published": PUBLISHED}
    shown = Table("samples of", "modes", "KL to uniform", title=f"{own.schedule.steps} steps, {len(ended)} seeds")
    for name, row in rows.items():
        shown.add_row(name, f"{row['modes']:.0f}", f"{row['kl']:.3f}")
    console.print(shown, f"The classifier reads {digits.accuracy:.1%} of test digits right.")
    averaged = means["averaged"]
    return {
        "protocol": f"{own.schedule.steps} steps of {own.schedule.batch_size}, {num_samples} samples",
        "means": means,
        "runs": [asdict(each) for each in ended],
        "real": digits.real,
        "accuracy": digits.accuracy,
        "met": {"modes": averaged["modes"] >= PUBLISHED["modes"], "kl": averaged["kl"] <= PUBLISHED["kl"]},
    }


def experiment(config: StackedMnistConfig, seed: int) -> Experiment:
    """Return the experiment of a seed: the default GAN."""
    steps = QUICK_STEPS if config.quick else config.steps
    schedule = {"steps": steps, "batch_size": config.batch_size, "evaluate_every": steps}
    return Experiment().patched({"seed": seed, "model": {"kind": "gan"}, "schedule": schedule})


def digits_of(source: Path, folder: Path, num_samples: int) -> Digits:
    """Read MNIST, and train who reads its digits."""
    mnist = IdxConfig(path=str(source)).build(folder)
    splits = [[torch.from_numpy(np.array(mnist.map(file))) for file in files] for files in mnist.files().values()]
    (images, labels), (unseen, truth) = (
        ((images[:, None] / 127.5 - 1.0), labels.to(torch.int64)) for images, labels in splits
    )
    classifier = ReferenceClassifier(images, labels, num_classes=10)
    stacks = stacked(unseen, num_samples, torch.Generator().manual_seed(0))
    return Digits(images, classifier, classifier.accuracy(unseen, truth), coverage(modes_of(stacks, classifier)))


def stacked(digits: Float[Tensor, "digit 1 28 28"], count: int, generator: torch.Generator) -> Tensor:
    """Return images of three random digits each, one a channel."""
    return digits[torch.randint(len(digits), (count, 3), generator=generator), 0]


def modes_of(images: Float[Tensor, "image 3 28 28"], classifier: ReferenceClassifier) -> Int[Tensor, " image"]:
    """Return the number that the three digits of each image make."""
    read = torch.stack([classifier.classes(images[:, channel, None]) for channel in range(3)], 1)
    return read @ torch.tensor([100, 10, 1])


def coverage(modes: Int[Tensor, " image"]) -> dict[str, float]:
    """Return the modes with a sample, and KL(samples by mode || uniform) in nats (Srivastava et al. 2017)."""
    counts = modes.bincount(minlength=NUM_MODES).double()
    shares = counts / counts.sum()
    return {"modes": float(counts.count_nonzero()), "kl": float(torch.special.xlogy(shares, NUM_MODES * shares).sum())}


def train(own: Experiment, digits: Digits, num_samples: int, sheet: Path) -> Covered:
    """Train to the end, draw a sheet, and count what the last and the averaged weights cover."""
    training, diverged, began_at = Training.start(own, STACK, torch.device("cpu")), "", time.process_time()
    with progress_bar(f"seed {own.seed}") as bar:
        try:
            fit(
                own,
                training,
                batches(own, digits.images),
                log=lambda now, _: bar.advance(now.step, own.schedule.steps),
                evaluate=lambda _: None,
                checkpoint=lambda _: None,
            )
        except Diverged as error:
            diverged = str(error)
    minutes = (time.process_time() - began_at) / 60
    models = zip(WEIGHTS, (training.model, training.average), strict=True)
    drawn = {name: samples(model.float().eval(), own.seed, num_samples) for name, model in models}
    labelled_sheet({name: images[:12] for name, images in drawn.items()}, STACK.values).save(sheet)
    covered = {name: coverage(modes_of(images, digits.classifier)) for name, images in drawn.items()}
    return Covered(covered, minutes, diverged)


def batches(own: Experiment, digits: Tensor) -> Batches:
    """Return batches of stacks, each drawn anew."""
    count = own.schedule.batch_size
    labels = torch.zeros(count, dtype=torch.int64)

    def draw(step: int, rows: slice) -> Batch:
        generator = torch.Generator().manual_seed(derive_seed(own.seed, "stacks", step))
        return Batch(stacked(digits, count, generator)[rows], labels[rows])

    return draw


@torch.inference_mode()
def samples(model: Model, seed: int, count: int) -> Tensor:
    """Draw what is counted."""
    assert isinstance(model, Generates)  # noqa: S101 - a GAN does
    parts: Sequence[range] = [range(first, min(first + AT_ONCE, count)) for first in range(0, count, AT_ONCE)]
    labels = torch.zeros(AT_ONCE, dtype=torch.int64)
    noise = [indexed_noise(model.sample_noise(), seed=seed, indices=part) for part in parts]
    return torch.cat([model.sample(each, labels[: len(part)]) for each, part in zip(noise, parts, strict=True)])


if __name__ == "__main__":
    run(StackedMnistConfig, main)
