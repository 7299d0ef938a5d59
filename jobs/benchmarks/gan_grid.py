"""Compare GANs that differ from the default in one thing: a network, the loss, the regulariser or a schedule.

python jobs/benchmarks/gan_grid.py --data DATA

A run is a data set, an arm and a seed. All runs of a data set compute equally long: an arm whose steps cost half takes
twice as many. Each has a core, and as many run at a time as there are cores. Arms are chosen among on validation
images; test images only confirm. Runs that have ended are read from the folder, so the benchmark may be stopped and
started again.
"""

import itertools
import json
import math
import os
import shutil
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import ray
import torch
from pydantic import PositiveInt
from rich.table import Table

from rayology.atomic import write_atomic
from rayology.bundle import Bundle
from rayology.config import Config
from rayology.data import PreparedDataset
from rayology.errors import ConfigError, Diverged
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
FIGURES = ("mmd", "precision", "recall", "diversity", "copies", "class_accuracy")


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

    data: Path = Path(os.environ.get("RAYOLOGY_DATA", "data"))
    """Folder with mednist/mednist_18000.zip and pneumoniamnist/pneumoniamnist.npz."""
    folder: Path = Path(".bench/gan_grid")
    """Folder with a folder a run, and the sheets."""
    data_sets: tuple[str, ...] = ("mednist",)
    """Data sets: mednist, pneumoniamnist, phantom."""
    arms: tuple[str, ...] = (DEFAULT,)
    """Arms next to the default, as the table names them, or 'all'."""
    seeds: PositiveInt = 3
    """Runs of each arm on each data set."""
    steps: PositiveInt = 2000
    """Steps of a run of the default; other arms take as many as that time allows."""
    batch_size: PositiveInt = 16
    """Images of each step."""
    quick: bool = False
    """The default and one other arm on a small phantom, a few steps of one seed: it shows that the benchmark runs."""


@dataclass(frozen=True)
class Case:
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
        return self.experiment.storage / "arms" / str(self).replace(", ", "_").replace(" ", "-")

    @property
    def key(self) -> Mapping[str, object]:
        """What its figures depend on."""
        return self.experiment.model_dump(mode="json", exclude={"storage"})


@dataclass(frozen=True)
class Ended:
    """What came of a run."""

    validation: Mapping[str, float]
    test: Mapping[str, float]
    core_minutes: float
    """Time that the training computed, its evaluations with it."""
    diverged: str = ""
    """What was not finite, or that the samples collapsed; such a run has no figures."""


def main(config: GanGridConfig) -> Mapping[str, object]:
    """Return the figures of each arm on each data set, and which arms are ahead of the default on all."""
    cases = cases_of(config)
    with on_cluster():
        data = {
            name: prepared(next(each.experiment for each in cases if each.data_set == name)).path
            for name in dict.fromkeys(each.data_set for each in cases)
        }
        ended = run_all(cases, data)
    for data_set, path in data.items():
        own = {case: found for case, found in ended.items() if case.data_set == data_set}
        console.print(table(data_set, own))
        console.print(sheet(data_set, own, PreparedDataset.open(path), config.folder), highlight=False)
    arms = [arm for arm in dict.fromkeys(each.arm for each in cases) if arm != DEFAULT]
    ahead = {arm: [name for name in data if is_ahead(arm, name, ended)] for arm in arms}
    return {
        "steps": config.steps,
        "runs": {str(case): asdict(found) for case, found in ended.items()},
        "ahead": ahead,
        "met": {"no_arm_is_ahead_of_the_default_everywhere": not any(len(own) == len(data) for own in ahead.values())},
    }


def cases_of(config: GanGridConfig) -> Sequence[Case]:
    """Return the runs, seed by seed, so that what has ended so far can be compared.

    Raises:
        ConfigError: there is no such arm or data set.
    """
    sets = data_sets(config.data.expanduser().absolute())
    arms = [*ARMS] if config.arms == ("all",) else list(dict.fromkeys((DEFAULT, *config.arms)))
    names, seeds, steps = config.data_sets, range(config.seeds), config.steps
    if config.quick:
        arms, names, seeds, steps = [DEFAULT, "vgg"], ("phantom",), range(1), 8
    small = {"source": {"kind": "phantom", "patients": 12}, "preparation": {"size": 16}} if config.quick else {}
    for option, asked, there in (("arms", arms, ARMS), ("data_sets", names, sets)):
        if unknown := [name for name in asked if name not in there]:
            raise ConfigError(f"{option}: there is no {unknown[0]!r}; write some of: {'; '.join(there)}")
    cases = itertools.product(names, seeds, arms)
    return [case_of(config, *each, {**sets[each[0]], **small}, steps=steps) for each in cases]


def case_of(
    config: GanGridConfig, data_set: str, seed: int, arm: str, differs: Mapping[str, object], *, steps: int
) -> Case:
    """Return a run, which takes the steps that the time of so many of the default allows."""
    cost, model = ARMS[arm]
    steps = round(steps / cost)
    experiment = Experiment().patched(
        {
            "name": data_set,
            "seed": seed,
            "storage": str(config.folder.expanduser().absolute()),
            "model": {"kind": "gan"},
            "schedule": {"steps": steps, "batch_size": config.batch_size, "evaluate_every": math.ceil(steps / 4)},
            "scaling": {"device": "cpu"},
            **differs,
        }
    )
    return Case(data_set, arm, seed, experiment.patched({"model": model}))


def run_all(cases: Sequence[Case], data: Mapping[str, Path]) -> Mapping[Case, Ended]:
    """Return what came of each run, training those that have not ended before."""
    ended = {case: found for case in cases if (found := stored(case)) is not None}
    task = ray.remote(num_cpus=1)(trained)
    waiting = {task.remote(case, data[case.data_set]): case for case in cases if case not in ended}
    with progress_bar("runs", f"{len(ended)} of {len(cases)} have ended") as bar:
        while waiting:
            (done,), _ = ray.wait([*waiting])
            case = waiting.pop(done)
            ended[case] = ray.get(done)
            bar.advance(len(ended), len(cases), str(case))
    return {case: ended[case] for case in cases}


def trained(case: Case, path: Path) -> Ended:
    """Train, evaluate on both splits, and keep the figures."""
    shutil.rmtree(case.folder, ignore_errors=True)
    case.folder.mkdir(parents=True)
    data, began_at, diverged = PreparedDataset.open(path), time.process_time(), ""
    try:
        training = train_here(case.experiment, data, case.folder, report=_ignore, device=torch.device("cpu"))
        bundle = finish(case.experiment, data, training, case.folder / BUNDLE)
    except Diverged as error:
        bundle, diverged = None, str(error)
    minutes = (time.process_time() - began_at) / 60
    found = Ended({}, {}, minutes, diverged)
    if bundle is not None:
        look = EvaluateConfig(bundle=bundle.path, storage=case.experiment.storage, split="test")
        test = evaluate(look, tell=_ignore).figures
        found = Ended(bundle.manifest.metrics, test, minutes, diverged)
    keep(case, found)
    return found


def _ignore(*_: object) -> None:
    """Take what a training or an evaluation tells, and drop it."""


def keep(case: Case, found: Ended) -> None:
    """Write what came of a run, with its experiment."""
    case.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(case.folder / "ended.json", json.dumps({"key": case.key, **asdict(found)}).encode(), mode=0o666)


def stored(case: Case) -> Ended | None:
    """Return what came of a run that has ended, of the very same experiment."""
    file = case.folder / "ended.json"
    found = json.loads(file.read_bytes()) if file.exists() else {}
    return Ended(**found) if found.pop("key", None) == case.key else None


def is_ahead(arm: str, data_set: str, ended: Mapping[Case, Ended]) -> bool:
    """Tell whether every seed of an arm is ahead of every one of the default, on validation and on test images."""
    found = {
        name: [each for case, each in ended.items() if (case.data_set, case.arm) == (data_set, name)]
        for name in (arm, DEFAULT)
    }
    return all(max(_mmds(found[arm], split)) < min(_mmds(found[DEFAULT], split)) for split in ("validation", "test"))


def _mmds(runs: Iterable[Ended], split: str) -> list[float]:
    return [getattr(each, split).get("mmd", float("inf")) for each in runs]


def table(data_set: str, ended: Mapping[Case, Ended]) -> Table:
    """Return a row for each arm, the best on validation images first."""
    shown = Table(
        "arm",
        "runs",
        *(f"{split} mmd" for split in ("validation", "test")),
        *FIGURES[1:],
        "core-minutes",
        title=f"{data_set}, mean (spread) of the seeds; figures behind test mmd are of test images",
    )
    arms: dict[str, list[Ended]] = {}
    for case, found in ended.items():
        arms.setdefault(case.arm, []).append(found)
    for arm, runs in sorted(arms.items(), key=lambda item: statistics.mean(_mmds(item[1], "validation"))):
        cells = [_spread(_mmds(runs, split)) for split in ("validation", "test")]
        cells += [_spread([each.test.get(name, float("nan")) for each in runs]) for name in FIGURES[1:]]
        shown.add_row(arm, str(len(runs)), *cells, f"{statistics.mean(each.core_minutes for each in runs):.1f}")
    return shown


def _spread(values: Sequence[float]) -> str:
    deviation = f" ({statistics.stdev(values):.2g})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3g}{deviation}"


def sheet(data_set: str, ended: Mapping[Case, Ended], data: PreparedDataset, folder: Path) -> Path:
    """Draw a row of samples of each arm's first seed below real images, and return where."""
    real, each = data.split("validation"), SHOWN // max(1, len(data.info.image.classes))
    chosen = [np.flatnonzero(real.labels == label)[:each] for label in np.unique(real.labels)]
    labels = torch.from_numpy(real.labels[np.concatenate(chosen)])
    rows = {"real": real.images(np.concatenate(chosen))}
    for case, found in ended.items():
        if case.seed == 0 and not found.diverged:
            model = Bundle.load(case.folder / BUNDLE).build()
            assert isinstance(model, Generates)  # noqa: S101 - all arms are GANs
            noise = indexed_noise(model.sample_noise(), seed=0, indices=range(len(labels)))
            with torch.inference_mode():
                rows[case.arm] = model.sample(noise, labels)
    place = folder / f"{data_set}.png"
    labelled_sheet(rows, data.info.image.values).save(place)
    return place


if __name__ == "__main__":
    run(GanGridConfig, main)
