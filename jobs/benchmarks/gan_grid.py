"""Compare GANs that differ from the default in one respect: networks, the loss, the regulariser or schedules.

python jobs/benchmarks/gan_grid.py --data DATA

A run is a data set, an arm and a seed. All runs of a data set compute equally long: an arm whose steps cost half takes
twice as many. Each has a core, and as many run at a time as there are cores. An arm is ahead if all its seeds are, on
validation images and, to confirm it, on test images. Runs that have ended are read from the folder, so that the
benchmark may be stopped and started again.
"""

import itertools
import math
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import ray
import torch
from ended import asked_for, file_name, keep, reading_data, stored
from pydantic import PositiveInt
from rich.table import Table

from rayology.bundle import Bundle
from rayology.config import Config
from rayology.data import PreparedDataset
from rayology.errors import Diverged
from rayology.experiment import Experiment
from rayology.job import run
from rayology.models import Generates
from rayology.noise import indexed_noise
from rayology.picture import labelled_sheet
from rayology.progress import console, progress_bar
from rayology.session import on_cluster, prepared
from rayology.training.evaluation_report import EvaluateConfig, evaluate
from rayology.training.run import BUNDLE
from rayology.training.worker import finish, train_here

NETWORKS = ("generator", "critic")
SPECTRAL = {"regulariser": {"kind": "none"}, "spectral_norm": True}
ARMS: Mapping[str, tuple[float, Mapping[str, object]]] = {
    "default": (1.0, {}),
    "resnet": (1.667, {network: {"kind": "resnet"} for network in NETWORKS}),
    "resnet generator": (1.2, {"generator": {"kind": "resnet"}}),
    "densenet": (1.0, {network: {"kind": "densenet"} for network in NETWORKS}),
    "U-Net critic": (4.0, {"critic": {"kind": "unet"}}),
    "transformer critic": (1.2, {"critic": {"kind": "transformer"}}),
    "schedules": (1.0, {"early_beta2": 0.9, "regulariser": {"weight": 5.0, "decay": 0.1}}),
    "non-saturating, R1": (1.0, {"loss": "non_saturating", "regulariser": {"at": "real"}}),
    "hinge, spectral": (0.6, {"loss": "hinge", **SPECTRAL}),
    "hinge, zero-centred": (1.0, {"loss": "hinge"}),
    "least squares": (1.0, {"loss": "least_squares"}),
    "packs of 2": (0.7, {"packing": 2}),
    "two critic steps": (0.9, {"critic_steps": 2}),
}
"""What a step computes as a multiple of the default's, measured at 64x64, and what differs in the model."""
DEFAULT = next(iter(ARMS))
SHOWN = 12  # samples of each arm on a sheet
FIGURES = ("precision", "recall", "diversity", "copies", "class_accuracy")


def data_sets(data: Path) -> Mapping[str, Mapping[str, object]]:
    """Return what differs from the default experiment for each data set."""
    pneumonia = {"kind": "medmnist", "path": str(data / "pneumoniamnist" / "pneumoniamnist.npz")}
    mednist = {
        "kind": "image_folder",
        "path": str(data / "mednist" / "mednist_18000.zip"),
        "labels": "folder",
    }
    return {
        "mednist": {"source": mednist, "preparation": {"size": 64}},
        "pneumoniamnist": {
            "source": pneumonia | {"classes": ["normal", "pneumonia"]},
            "preparation": {"size": 28},
        },
        "phantom": {"source": {"kind": "phantom", "patients": 300}},
    }


class GanGridConfig(Config):
    """What to train, and where the runs that ended are kept."""

    data: Path = Path("../shared/data")
    """Folder with mednist/mednist_18000.zip and pneumoniamnist/pneumoniamnist.npz."""
    folder: Path = Path(".bench/gan_grid")
    """Folder with a folder a run, and the sheets."""
    data_sets: tuple[str, ...] = ("mednist",)
    """Data sets: mednist, pneumoniamnist, phantom, or all."""
    arms: tuple[str, ...] = ("all",)
    """Arms next to the default, as the table names them, or all."""
    seeds: PositiveInt = 3
    """Runs of each arm on each data set."""
    steps: PositiveInt = 2000
    """Steps of a run of the default; other arms take as many as that time allows."""
    batch_size: PositiveInt = 16
    """Images of each step."""
    quick: bool = False
    """The default and one other arm on a small phantom, a few steps of one seed: it shows that the benchmark runs."""


@dataclass(frozen=True)
class Run:
    """A data set, an arm and a seed."""

    data_set: str
    arm: str
    seed: int
    experiment: Experiment = field(compare=False)

    def __str__(self) -> str:
        return f"{self.data_set}, {self.arm}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where its training lies."""
        return self.experiment.storage / "arms" / file_name(str(self))

    @property
    def file(self) -> Path:
        """Where its figures are kept."""
        return self.folder / "ended.json"

    @property
    def key(self) -> object:
        """What its figures depend on."""
        return self.experiment.model_dump(mode="json", exclude={"storage"})


@dataclass(frozen=True)
class Figures:
    """What came of a run."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    core_minutes: float
    """Time that the training computed, its evaluations with it."""
    diverged: str = ""
    """What was not finite, or that the samples collapsed; such a run has no figures."""


Ended = Mapping[Run, Figures]


def main(config: GanGridConfig) -> Mapping[str, object]:
    """Return the figures of each arm on each data set, and the data sets on which it is ahead of the default."""
    runs = runs_of(config)
    names = list(dict.fromkeys(each.data_set for each in runs))
    arms = list(dict.fromkeys(each.arm for each in runs))
    with on_cluster():
        with reading_data(GanGridConfig):
            data = {name: prepared(next(each.experiment for each in runs if each.data_set == name)) for name in names}
        ended = run_all(runs, {name: each.path for name, each in data.items()})
    for name in names:
        console.print(table(name, ended))
        console.print(sheet(name, ended, data[name], config.folder.expanduser()), highlight=False)
    ahead = {arm: [name for name in names if is_ahead(arm, name, ended)] for arm in arms if arm != DEFAULT}
    num_seeds = len({each.seed for each in runs})
    return {
        "steps": {arm: next(each.experiment.schedule.steps for each in runs if each.arm == arm) for arm in arms},
        "runs": {str(each): asdict(found) for each, found in ended.items()},
        "ahead": ahead,
        "chance_of_each_on_one_split": 1 / math.comb(2 * num_seeds, num_seeds),
        "met": {"no_arm_is_ahead_everywhere": not any(found == names for found in ahead.values())},
    }


def runs_of(config: GanGridConfig) -> Sequence[Run]:
    """Return the runs, seed by seed, so that what has ended so far can be compared.

    Raises:
        ConfigError: there is no such arm or data set.
    """
    sets = data_sets(config.data.expanduser().absolute())
    names = asked_for("data_sets", config.data_sets, sets)
    arms = list(dict.fromkeys((DEFAULT, *asked_for("arms", config.arms, ARMS))))
    seeds, steps, patch = range(config.seeds), config.steps, dict[str, object]()
    if config.quick:
        names, arms, seeds, steps = ["phantom"], [*ARMS][:2], range(1), 8
        patch = {"source": {"patients": 12}, "preparation": {"size": 16}}
    shared = {
        "storage": str(config.folder.expanduser().absolute()),
        "model": {"kind": "gan"},
        "schedule": {"batch_size": config.batch_size},
        "scaling": {"device": "cpu"},
    }

    def run_of(name: str, seed: int, arm: str) -> Run:
        cost, model = ARMS[arm]
        taken = round(steps / cost)
        schedule = {"steps": taken, "evaluate_every": math.ceil(taken / 4)}
        experiment = Experiment().patched({**shared, "name": name, "seed": seed}).patched(sets[name]).patched(patch)
        return Run(name, arm, seed, experiment.patched({"schedule": schedule, "model": model}))

    return [run_of(*each) for each in itertools.product(names, seeds, arms)]


def run_all(runs: Sequence[Run], data: Mapping[str, Path]) -> Ended:
    """Return what came of each run, training those that have not ended before."""
    ended = {each: found for each in runs if (found := stored(each.file, each.key, Figures)) is not None}
    task = ray.remote(num_cpus=1)(trained)
    waiting = {task.remote(each, data[each.data_set]): each for each in runs if each not in ended}
    with progress_bar("runs", f"{len(ended)} of {len(runs)} have ended") as bar:
        while waiting:
            (done,), _ = ray.wait([*waiting])
            own = waiting.pop(done)
            ended[own] = ray.get(done)
            bar.advance(len(ended), len(runs), str(own))
    return {each: ended[each] for each in runs}


def trained(own: Run, path: Path) -> Figures:
    """Train, evaluate on both splits, and keep the figures."""
    shutil.rmtree(own.folder, ignore_errors=True)
    own.folder.mkdir(parents=True)
    data, began_at = PreparedDataset.open(path), time.process_time()
    try:
        training = train_here(own.experiment, data, own.folder, report=_ignore, device=torch.device("cpu"))
        bundle = finish(own.experiment, data, training, own.folder / BUNDLE)
        minutes = (time.process_time() - began_at) / 60
        assert bundle is not None  # noqa: S101 - this process leads
        look = EvaluateConfig(bundle=bundle.path, storage=own.experiment.storage, split="test")
        found = Figures(bundle.manifest.metrics, evaluate(look, tell=_ignore).figures, minutes)
    except Diverged as error:
        found = Figures({}, {}, (time.process_time() - began_at) / 60, str(error))
    keep(own.file, own.key, found)
    return found


def _ignore(*_: object) -> None:
    """Take what a training or an evaluation tells, and drop it."""


def is_ahead(arm: str, data_set: str, ended: Ended) -> bool:
    """Tell whether every seed of an arm is ahead of every one of the default, on validation and on test images."""
    mine, others = (_of(data_set, name, ended) for name in (arm, DEFAULT))
    return all(max(_mmds(mine, split)) < min(_mmds(others, split)) for split in ("validation", "test"))


def _of(data_set: str, arm: str, ended: Ended) -> list[Figures]:
    return [found for each, found in ended.items() if (each.data_set, each.arm) == (data_set, arm)]


def _mmds(found: Sequence[Figures], split: str) -> list[float]:
    return [getattr(each, split).get("mmd", math.inf) for each in found]


def table(data_set: str, ended: Ended) -> Table:
    """Return a row for each arm, the best on validation images first."""
    splits = [f"{split} mmd" for split in ("validation", "test")]
    steps = max(each.experiment.schedule.steps for each in ended)
    title = f"{data_set}, up to {steps:,} steps: mean (standard deviation) of the seeds; the rest is of test images"
    shown = Table("arm", "runs", "diverged", *splits, *FIGURES, "core-minutes", title=title)
    arms = {each.arm: _of(data_set, each.arm, ended) for each in ended if each.data_set == data_set}
    for arm, found in sorted(arms.items(), key=lambda item: statistics.mean(_mmds(item[1], "validation"))):
        cells = [_spread(_mmds(found, split)) for split in ("validation", "test")]
        cells += [_spread([each.test.get(name, math.nan) for each in found]) for name in FIGURES]
        minutes = _spread([each.core_minutes for each in found])
        shown.add_row(arm, str(len(found)), str(sum(bool(each.diverged) for each in found)), *cells, minutes)
    return shown


def _spread(values: Sequence[float]) -> str:
    """Return the mean and the standard deviation of those that are finite."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    return f"{statistics.mean(finite):.3g}" + (f" ({statistics.stdev(finite):.2g})" if len(finite) > 1 else "")


def sheet(data_set: str, ended: Ended, data: PreparedDataset, folder: Path) -> Path:
    """Draw a row of samples of each arm's first seed below real images, and return where."""
    real, a_class = data.split("validation"), SHOWN // max(1, len(data.info.image.classes))
    chosen = np.concatenate([np.flatnonzero(real.labels == label)[:a_class] for label in np.unique(real.labels)])
    labels = torch.from_numpy(real.labels[chosen])
    rows = {"real": real.images(chosen)}
    first = min(each.seed for each in ended)
    for each, found in ended.items():
        if (each.data_set, each.seed) == (data_set, first) and not found.diverged:
            model = Bundle.load(each.folder / BUNDLE).build()
            assert isinstance(model, Generates)  # noqa: S101 - all arms are GANs
            noise = indexed_noise(model.sample_noise(), seed=0, indices=range(len(labels)))
            with torch.inference_mode():
                rows[each.arm] = model.sample(noise, labels)
    place = folder / f"{data_set}.png"
    labelled_sheet(rows, data.info.image.values).save(place)
    return place


if __name__ == "__main__":
    run(GanGridConfig, main)
