"""Count what a training step of each backbone takes in each role, and train every pair of them on random images.

python jobs/benchmarks/backbones.py

A step takes 8 images on one core, in float32, with the default network in the model's other role. The pairs are as
small as they get: their figures have to stay finite, and every parameter has to learn something early on.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
from pydantic import PositiveInt
from rich.table import Table

from rayology.config import Config, alternatives
from rayology.errors import Diverged
from rayology.experiment import KINDS, Experiment
from rayology.image import Batch, ImageSpec
from rayology.job import run
from rayology.progress import console, progress_bar
from rayology.training.loop import Batches, Training, fit
from rayology.training.memory import footprint

CPU = torch.device("cpu")
ROLES: Mapping[str, tuple[str, str]] = {"vae": ("encoder", "decoder"), "gan": ("generator", "critic")}
SIZES: Sequence[tuple[int, ...]] = ((64, 64), (32, 32, 32))
LEAST_SIZES: Sequence[tuple[int, ...]] = ((16, 16), (16, 16, 16))
CHANNELS = (1, 3)
COSTED_STEPS, WARM_UP = 5, 1  # the last is not timed either
TRAINED_STEPS, FIRST_STEPS = 50, 10


class BackbonesConfig(Config):
    """What to count and to train."""

    rounds: PositiveInt = 3
    """Times that each network is timed, in turn with the others."""
    processes: PositiveInt = 2
    """Pairs that are trained at the same time, each on one core."""
    quick: bool = False
    """One round at 16x16, and ten steps of pairs in which each network is once in each role, on slices alone."""


@dataclass(frozen=True)
class Network:
    """A backbone in a role of a model, for images of a size."""

    model: str
    role: str
    kind: str
    size: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.model}.{self.role}/{self.kind}/{named(self.size)}"

    def experiment(self) -> Experiment:
        """Return an experiment of a few steps with the default network in the other role."""
        return experiment(self.model, {self.role: {"kind": self.kind}}, steps=COSTED_STEPS, batch_size=8)


@dataclass(frozen=True)
class Pair:
    """The smallest networks of a model, by role, and its images."""

    model: str
    kinds: tuple[str, str]
    size: tuple[int, ...]
    channels: int
    steps: int = TRAINED_STEPS

    def __str__(self) -> str:
        return f"{self.model} {'-'.join(self.kinds)} {self.channels}x{named(self.size)}"


@dataclass(frozen=True)
class Trained:
    """How the training of a pair ended."""

    pair: Pair
    diverged: str
    """What was not finite; empty if everything was."""
    still: Sequence[str]
    """Parameters without a gradient other than zero in the first ten steps."""
    seconds: float


def main(config: BackbonesConfig) -> Mapping[str, object]:
    """Return what each backbone costs in each role, and the pairs that did not learn."""
    torch.set_num_threads(1)
    networks, pairs = [*networks_of(LEAST_SIZES[:1] if config.quick else SIZES)], [*pairs_of(quick=config.quick)]
    costs = count(networks, rounds=1 if config.quick else config.rounds)
    console.print(cost_table(costs))

    trained: list[Trained] = []
    with progress_bar("pairs") as bar, get_context("spawn").Pool(config.processes) as pool:
        for done, found in enumerate(pool.imap_unordered(train, pairs), 1):
            bar.advance(done, len(pairs), str(found.pair))
            trained.append(found)
    console.print(pair_table(trained))
    diverged = {str(each.pair): each.diverged for each in trained if each.diverged}
    still = {str(each.pair): each.still for each in trained if each.still}
    for pair, why in {**diverged, **still}.items():
        console.print(f"{pair}: {why}", highlight=False, markup=False)
    return {
        "run": "quick" if config.quick else "full",
        "costs": {str(network): cost for network, cost in costs.items()},
        "pairs": len(trained),
        "diverged": diverged,
        "still": still,
        "met": {"all_finite": not diverged, "every_parameter_moves": not still},
    }


def networks_of(sizes: Sequence[tuple[int, ...]]) -> Iterator[Network]:
    """Yield every backbone in each of its roles."""
    for (model, roles), size in itertools.product(ROLES.items(), sizes):
        for role in roles:
            yield from (Network(model, role, kind, size) for kind in kinds_of(model, role))


def pairs_of(*, quick: bool) -> Iterator[Pair]:
    """Yield every pair of every model, as slices and volumes of one channel and of three."""
    for (model, roles), size, channels in itertools.product(ROLES.items(), LEAST_SIZES, CHANNELS):
        first, second = ([*kinds_of(model, role)] for role in roles)
        if not quick:
            yield from (Pair(model, kinds, size, channels) for kinds in itertools.product(first, second))
        elif (size, channels) == (LEAST_SIZES[0], CHANNELS[0]):
            unlike = second[1:] + second[:1]
            yield from (Pair(model, kinds, size, channels, FIRST_STEPS) for kinds in zip(first, unlike, strict=True))


def kinds_of(model: str, role: str) -> Mapping[str, type[Config]]:
    """Return the backbones that may take a role, by name."""
    found = alternatives(KINDS[model].model_fields[role].annotation)
    return {str(kind.model_fields["kind"].default): kind for kind in found}


def experiment(model: str, networks: Mapping[str, Mapping[str, object]], *, steps: int, batch_size: int) -> Experiment:
    """Return an experiment of a model with some networks."""
    schedule = {"steps": steps, "batch_size": batch_size, "log_every": min(steps, FIRST_STEPS)}
    return Experiment().patched(
        {"model": {"kind": model, **networks}, "schedule": schedule, "scaling": {"precision": "float32"}}
    )


def count(networks: Sequence[Network], *, rounds: int) -> Mapping[Network, Mapping[str, float]]:
    """Return parameters, milliseconds and megabytes of a step with each network, the times taken in turn."""
    milliseconds: dict[Network, list[float]] = {network: [] for network in networks}
    sizes: dict[Network, Mapping[str, float]] = {}
    with progress_bar("steps") as bar:
        for done, (_, network) in enumerate(itertools.product(range(rounds), networks), 1):
            milliseconds[network].append(milliseconds_a_step(network))
            if network not in sizes:
                sizes[network] = size_of(network)
            bar.advance(done, rounds * len(networks), str(network))
    return {
        network: {**sizes[network], "ms": round(statistics.median(times), 1)} for network, times in milliseconds.items()
    }


def size_of(network: Network) -> Mapping[str, float]:
    """Return the parameters of the network, and the most megabytes that its model's step takes."""
    image, own = ImageSpec(size=network.size), network.experiment()
    weights = Training.start(own, image, CPU).model.get_submodule(network.role).parameters()
    peak = footprint(own, image, CPU).peak(own)
    return {"parameters": sum(weight.numel() for weight in weights), "mb": round(peak / 1e6, 1)}


def milliseconds_a_step(network: Network) -> float:
    """Return the median milliseconds that this process computes in a step of the network's model."""
    own, image = network.experiment(), ImageSpec(size=network.size)
    draw, began_at = batches(own, image), list[float]()

    def timed(step: int, rows: slice) -> Batch:
        began_at.append(time.process_time())
        return draw(step, rows)

    fit(own, Training.start(own, image, CPU), timed, log=ignore, evaluate=ignore, checkpoint=ignore)
    return 1e3 * statistics.median(after - before for before, after in itertools.pairwise(began_at[WARM_UP:]))


def batches(own: Experiment, image: ImageSpec) -> Batches:
    """Return batches of random images, of two classes if the images have classes."""
    count = own.schedule.batch_size
    labels = torch.arange(count) % max(1, len(image.classes))

    def draw(step: int, rows: slice) -> Batch:
        images = torch.rand(count, *image.shape, generator=torch.Generator().manual_seed(step)) * 2 - 1
        return Batch(images[rows], labels[rows])

    return draw


def train(pair: Pair) -> Trained:
    """Train a pair, and look for parameters without a gradient after the first steps."""
    torch.set_num_threads(1)
    started_at = time.monotonic()
    networks = {
        role: {"kind": kind, "width": least_width(kinds_of(pair.model, role)[kind])}
        for role, kind in zip(ROLES[pair.model], pair.kinds, strict=True)
    }
    own = experiment(pair.model, networks, steps=pair.steps, batch_size=4)
    image = ImageSpec(size=pair.size, channels=pair.channels, classes=("a", "b"))
    training, still, diverged = Training.start(own, image, CPU), list[str](), ""

    def look(training: Training, _: Mapping[str, float]) -> None:
        if training.step == FIRST_STEPS:
            still.extend(without_gradient(training))

    try:
        fit(own, training, batches(own, image), log=look, evaluate=ignore, checkpoint=ignore)
    except Diverged as error:
        diverged = str(error)
    return Trained(pair, diverged, still, time.monotonic() - started_at)


def least_width(kind: type[Config]) -> int:
    """Return the least width that a backbone may have."""
    return next(mark.ge for mark in kind.model_fields["width"].metadata if hasattr(mark, "ge"))


def without_gradient(training: Training) -> list[str]:
    """Return the parameters whose gradients were all zero, as Adam's mean of their squares tells."""
    moved = {
        weight
        for optimizer in training.optimizers
        for weight, state in optimizer.state.items()
        if state["exp_avg_sq"].any()
    }
    return [name for name, weight in training.model.named_parameters() if weight not in moved]


def ignore(*_: object) -> None:
    """Take what a training tells and drop it."""


def named(size: tuple[int, ...]) -> str:
    """Return a size as people write it."""
    return "x".join(map(str, size))


def cost_table(costs: Mapping[Network, Mapping[str, float]]) -> Table:
    """Return a row for each backbone in each role, with columns for each size."""
    sizes = list(dict.fromkeys(network.size for network in costs))
    columns = [f"{named(size)}: {figure}" for size in sizes for figure in ("parameters", "ms", "MB")]
    shown = Table("role", "backbone", *columns)
    for network in costs:
        if network.size == sizes[0]:
            own = [costs[replace(network, size=size)] for size in sizes]
            cells = [f"{cost[figure]:,.0f}" for cost in own for figure in ("parameters", "ms", "mb")]
            shown.add_row(f"{network.model} {network.role}", network.kind, *cells)
    return shown


def pair_table(trained: Sequence[Trained]) -> Table:
    """Return a row for each model and shape of images."""
    groups: dict[tuple[str, str], list[Trained]] = {}
    for each in trained:
        groups.setdefault((each.pair.model, f"{each.pair.channels}x{named(each.pair.size)}"), []).append(each)
    shown = Table("model", "images", "pairs", "all finite", "every parameter moves", "slowest, s")
    for group, own in sorted(groups.items()):
        good = (sum(not each.diverged for each in own), sum(not each.still for each in own))
        shown.add_row(*group, str(len(own)), *map(str, good), f"{max(each.seconds for each in own):.1f}")
    return shown


if __name__ == "__main__":
    run(BackbonesConfig, main)
