"""Count the modes of toy mixtures that a GAN covers: PacGAN's ring of 8 and grid of 25 Gaussians (Lin et al. 2018).

python jobs/benchmarks/mode_coverage.py

The GAN is the one that draws images, from its losses to its loop, with dense networks of three layers of 128 (PacGAN's
have four of 400 and three of 200), on points that are scaled to [-1, 1] as images are. One
recipe serves both mixtures. A run is a mixture, an arm and a seed; those that have ended are read from the folder, so
the benchmark may be stopped and started again.
"""

import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ended import asked_for, file_name, keep, stored
from jaxtyping import Float
from pydantic import PositiveInt
from rich.table import Table
from torch import Tensor

from rayology.config import Config
from rayology.errors import Diverged
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.job import run
from rayology.models import Generates, Model
from rayology.noise import derive_seed, indexed_noise
from rayology.progress import console, progress_bar
from rayology.training.loop import Batches, Training, fit

POINT = ImageSpec(channels=2).model_copy(update={"size": ()})  # an image without places, which no dataset has
NUM_POINTS, BATCH_SIZE, NUM_SAMPLES = 100_000, 100, 2_500
STEPS_AN_EPOCH = NUM_POINTS // BATCH_SIZE
QUALITY = 3.0  # standard deviations from a mode within which a sample counts
RECIPE: Mapping[str, Mapping[str, object]] = {
    "model": {
        "kind": "gan",
        "generator": {"kind": "dense", "width": 128, "depth": 3},
        "critic": {"kind": "dense", "width": 128, "depth": 3},
        "latents": 2,
        "regulariser": {"weight": 0.02},
    },
    "scaling": {"precision": "float32"},
}
ARMS: Mapping[str, Mapping[str, object]] = {
    "relativistic, zero-centred": {},
    "non-saturating, zero-centred": {"loss": "non_saturating"},
    "hinge, zero-centred": {"loss": "hinge"},
    "least squares, zero-centred": {"loss": "least_squares"},
    "Wasserstein, interpolated": {"loss": "wasserstein", "regulariser": {"kind": "interpolated"}, "critic_steps": 5},
    "non-saturating, R1": {"loss": "non_saturating", "regulariser": {"at": "real"}},
    "non-saturating, spectral": {"loss": "non_saturating", "regulariser": {"kind": "none"}, "spectral_norm": True},
    "non-saturating, none": {"loss": "non_saturating", "regulariser": {"kind": "none"}},
    "non-saturating, none, packs of 2": {"loss": "non_saturating", "regulariser": {"kind": "none"}, "packing": 2},
}
DEFAULT = next(iter(ARMS))
WEIGHTS = ("last", "averaged")
QUICK_STEPS, RESAMPLES = 100, 10_000


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians of one width, scaled to [-1, 1], and the best that PacGAN's table 1 has of them."""

    modes: Float[Tensor, "mode 2"]
    std: float
    best: Mapping[str, float]
    """The best cell of each column, whichever row it is in."""

    def points(self, seed: int) -> Float[Tensor, "point 2"]:
        """Draw the points to learn from."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "points"))
        chosen = torch.randint(len(self.modes), (NUM_POINTS,), generator=generator)
        return self.modes[chosen] + self.std * torch.randn(NUM_POINTS, 2, generator=generator)


ANGLES = torch.arange(8) * math.tau / 8
MIXTURES: Mapping[str, Mixture] = {
    "ring": Mixture(torch.stack([ANGLES.cos(), ANGLES.sin()], 1), 0.01, {"modes": 7.9, "kl": 0.07, "quality": 0.982}),
    "grid": Mixture(
        torch.cartesian_prod(*2 * [torch.linspace(-4, 4, 5)]) / 4,
        0.05 / 4,
        {"modes": 24.8, "kl": 0.04, "quality": 0.957},
    ),
}


class ModeCoverageConfig(Config):
    """What to train, and where the runs that ended are kept."""

    folder: Path = Path(".bench/mode_coverage")
    """Folder with one file a run."""
    seeds: PositiveInt = 10
    """Runs of each arm on each mixture."""
    epochs: PositiveInt = 400
    """Passes over the 100,000 points, in batches of 100."""
    arms: tuple[str, ...] = (DEFAULT,)
    """Losses and regularisers, as the table names them, or 'all'."""
    quick: bool = False
    """One seed of the first arm, and 100 steps in place of 400,000: it shows that the benchmark runs, and no more."""


@dataclass(frozen=True)
class Figures:
    """What became of a run."""

    drawn: dict[str, dict[str, float]]
    """What the last and the averaged weights drew at the final step."""
    diverged: str
    """What was not finite; empty if everything was."""


@dataclass(frozen=True)
class Run:
    """A mixture, an arm, a seed and a number of steps."""

    mixture: str
    arm: str
    seed: int
    steps: int

    def __str__(self) -> str:
        return f"{self.mixture}, {self.arm}, {self.steps} steps, seed {self.seed}"

    def experiment(self) -> Experiment:
        """Return the experiment: the recipe, with what the arm changes."""
        schedule = {
            "steps": self.steps,
            "batch_size": BATCH_SIZE,
            "cooldown": 0.8,
            "log_every": 5 * STEPS_AN_EPOCH,
            "evaluate_every": self.steps,
        }
        shared = Experiment().patched({**RECIPE, "seed": self.seed, "schedule": schedule})
        return shared.patched({"model": ARMS[self.arm]})

    def train(self) -> Figures:
        """Train to the end, and look at what the last and the averaged weights draw."""
        experiment, mixture = self.experiment(), MIXTURES[self.mixture]
        training, diverged = Training.start(experiment, POINT, torch.device("cpu")), ""
        with progress_bar(str(self)) as bar:
            try:
                fit(
                    experiment,
                    training,
                    batches(mixture.points(self.seed), self.seed),
                    log=lambda now, _: bar.advance(now.step, self.steps),
                    evaluate=lambda _: None,
                    checkpoint=lambda _: None,
                )
            except Diverged as error:
                diverged = str(error)
        models = zip(WEIGHTS, (training.model, training.average), strict=True)
        drawn = {weights: coverage(samples(model, self.seed), mixture) for weights, model in models}
        return Figures(drawn, diverged)

    def file(self, folder: Path) -> Path:
        """Return where its figures are kept."""
        return folder / f"{file_name(str(self))}.json"

    @property
    def key(self) -> object:
        """What its figures depend on."""
        return self.experiment().model_dump(mode="json")


def main(config: ModeCoverageConfig) -> Mapping[str, object]:
    """Return the modes, the divergence and the share of good samples of each arm on each mixture."""
    torch.set_num_threads(1)
    runs, seconds = runs_of(config), list[float]()
    ended: dict[Run, Figures] = {}
    for left, each in zip(range(len(runs), 0, -1), runs, strict=True):
        if (found := stored(each.file(config.folder), each.key, Figures)) is None:
            started_at = time.monotonic()
            found = each.train()
            seconds.append(time.monotonic() - started_at)
            keep(each.file(config.folder), each.key, found)
            rest = (left - 1) * statistics.median(seconds) / 60
            console.print(f"{each}: {seconds[-1]:,.0f} s; runs left: {left - 1}, {rest:,.0f} min", highlight=False)
        ended[each] = found

    results = {
        f"{mixture}/{arm}/{weights}": summary(own, weights)
        for arm in dict.fromkeys(each.arm for each in runs)
        for mixture in MIXTURES
        if (own := [found for each, found in ended.items() if (each.mixture, each.arm) == (mixture, arm)])
        for weights in WEIGHTS
    }
    steps, num_seeds = runs[0].steps, len({each.seed for each in runs})
    protocol = f"{'quick: ' * config.quick}{steps:,} of 400,000 steps, {num_seeds} of 10 seeds"
    console.print(table(results, protocol))
    first = {mixture: results[f"{mixture}/{runs[0].arm}/averaged"] for mixture in MIXTURES}
    return {
        "protocol": protocol,
        "results": results,
        "published": {name: mixture.best for name, mixture in MIXTURES.items()},
        "diverged": {str(each): found.diverged for each, found in ended.items() if found.diverged},
        "met": {target: is_met for name, figures in first.items() for target, is_met in met(name, figures).items()},
    }


def runs_of(config: ModeCoverageConfig) -> Sequence[Run]:
    """Return the runs in order, so that the first arm is done first, seed by seed.

    Raises:
        ConfigError: there is no such arm.
    """
    arms = asked_for("arms", config.arms, ARMS)
    seeds, steps = (1, QUICK_STEPS) if config.quick else (config.seeds, config.epochs * STEPS_AN_EPOCH)
    arms = arms[:1] if config.quick else arms
    return [Run(mixture, arm, seed, steps) for arm, seed, mixture in itertools.product(arms, range(seeds), MIXTURES)]


def batches(points: Tensor, seed: int) -> Batches:
    """Return batches that take each point once an epoch, in an order of its own."""
    labels = torch.zeros(BATCH_SIZE, dtype=torch.int64)
    order, of_epoch = torch.empty(0), -1

    def draw(step: int, rows: slice) -> Batch:
        nonlocal order, of_epoch
        epoch, place = divmod(step, STEPS_AN_EPOCH)
        if epoch != of_epoch:
            generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
            order, of_epoch = torch.randperm(NUM_POINTS, generator=generator), epoch
        chosen = order[place * BATCH_SIZE : (place + 1) * BATCH_SIZE][rows]
        return Batch(points[chosen], labels[rows])

    return draw


@torch.no_grad()
def samples(model: Model, seed: int) -> Float[Tensor, "sample 2"]:
    """Draw what is looked at."""
    if not isinstance(model, Generates):
        raise TypeError(f"{type(model).__name__} draws nothing")
    noise = indexed_noise(model.sample_noise(), seed=seed, indices=range(NUM_SAMPLES))
    return model.sample(noise, torch.zeros(NUM_SAMPLES, dtype=torch.int64))


def coverage(drawn: Float[Tensor, "sample 2"], mixture: Mixture) -> dict[str, float]:
    """Return the modes with a good sample, KL(good samples by mode || uniform) in nats, and the share of good ones.

    Those of PacGAN (Lin et al. 2018, section 4.1), after VEEGAN (Srivastava et al. 2017, section 4.1). Without good
    samples the divergence is what it is if all are in one mode.
    """
    distance, mode = torch.cdist(drawn, mixture.modes).min(1)
    counts = mode[distance < QUALITY * mixture.std].bincount(minlength=len(mixture.modes)).double()
    shares = counts / counts.sum() if counts.any() else torch.eye(len(counts))[0]
    kl = torch.special.xlogy(shares, len(shares) * shares).sum()
    return {"modes": float(counts.count_nonzero()), "kl": float(kl), "quality": float(counts.sum()) / len(drawn)}


def summary(runs: Sequence[Figures], weights: str) -> dict[str, tuple[float, float, float]]:
    """Return the mean over the seeds of each figure, and the bounds of its 95 % interval, by bootstrap."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(runs), (RESAMPLES, len(runs)), generator=generator)
    found: dict[str, tuple[float, float, float]] = {}
    for name in ("modes", "kl", "quality"):
        values = torch.tensor([each.drawn[weights][name] for each in runs], dtype=torch.float64)
        low, high = values[chosen].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        found[name] = (float(values.mean()), low, high)
    return found


def met(name: str, figures: Mapping[str, tuple[float, float, float]]) -> Mapping[str, bool]:
    """Tell whether the means are ahead of the best published cells.

    Modes and divergence look at good samples alone, so that blurred ones have both; they mean little without the share.
    """
    best = MIXTURES[name].best
    covers = figures["modes"][0] > best["modes"] and figures["kl"][0] < best["kl"]
    return {f"{name}_modes_and_kl": covers, f"{name}_good_samples": figures["quality"][0] > best["quality"]}


def table(results: Mapping[str, Mapping[str, tuple[float, float, float]]], protocol: str) -> Table:
    """Return a row an arm and mixture for the last and the averaged weights, and one of the best published cells."""
    shown = Table(protocol, "weights", "mixture", "modes", "KL to uniform", "good samples, %")
    for path, figures in results.items():
        name, arm, weights = path.split("/")
        cells = [
            f"{scale * mean:.{digits}f} ({scale * low:.{digits}f} to {scale * high:.{digits}f})"
            for (mean, low, high), scale, digits in zip(figures.values(), (1, 1, 100), (1, 4, 1), strict=True)
        ]
        shown.add_row(arm, weights, name, *cells)
    for name, mixture in MIXTURES.items():
        best = mixture.best
        row = (f"{best['modes']:g}", f"{best['kl']:g}", f"{100 * best['quality']:g}")
        shown.add_row("best published cells (PacGAN, table 1)", "", name, *row)
    return shown


if __name__ == "__main__":
    run(ModeCoverageConfig, main)
