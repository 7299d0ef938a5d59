"""Kill a sweep's driver and its trials' processes at random moments, and resume it: no trial may be lost or repeated.

python jobs/benchmarks/search_faults.py

One sweep runs a trial at a time: it must end with the points, seeds, outcomes and losses of one that nothing stopped.
Another runs two: which of them ends first is left to chance, and with it what is tried next.
"""

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, PositiveInt
from ray.cluster_utils import Cluster
from rich.table import Table

from rayology.config import Config
from rayology.job import run
from rayology.progress import console, progress_bar
from rayology.search.journal import Journal, Trial
from rayology.training.history import HISTORY, read
from rayology.training.run import BUNDLE, SUMMARY

TIMEOUT_S = 600.0
LATEST_S = 2.0  # how long after a step was taken a process is killed at most
STEPS = 60
SWEEP = {
    "source.patients": 12,
    "source.slices": 4,
    "source.size": 32,
    "preparation.size": 16,
    "model.encoder.width": 8,
    "model.decoder.width": 8,
    "schedule.steps": STEPS,
    "schedule.batch-size": 8,
    "schedule.evaluate-every": 20,
    "schedule.checkpoint-every": 10,
    "schedule.log-every": 1,
    "schedule.warmup-steps": 5,
    "search.grace-steps": 20,
    "search.max-failures": 100,
    "search.narrow": '{"model.*.kind": ["resnet", "vgg"], "model.*.width": [8], "model.*.depth": [1]}',
}


class SearchFaultsConfig(Config):
    """How often to kill what."""

    trials: PositiveInt = 8
    """Trainings of each sweep, those that repeat finalists among them."""
    kills: PositiveInt = 12
    """How often each sweep is disturbed."""
    seed: NonNegativeInt = 0
    """What the moments and the processes to kill are drawn from."""
    concurrent: tuple[PositiveInt, ...] = (1, 2)
    """A sweep each that runs so many trials at a time."""
    quick: bool = False
    """Two kills of one sweep of four trials, one at a time."""


@dataclass
class Sweep:
    """A sweep that runs in a process of its own, as a job does."""

    cluster: Cluster
    storage: Path
    flags: Mapping[str, object]
    process: subprocess.Popen[bytes] | None = None
    finished: dict[Path, bytes] = field(default_factory=dict)
    """What stood in the folders of trials when they were first seen to have finished."""
    killed: dict[str, int] = field(default_factory=lambda: {"driver": 0, "trial": 0})

    @property
    def log(self) -> Path:
        """The file of what it says to people."""
        return self.storage.with_name(f"{self.storage.name}.log")

    @property
    def folder(self) -> Path:
        """Its own folder, once it has one."""
        return next((self.storage / "sweeps").glob("*"), self.storage / "none")

    @property
    def step(self) -> int:
        """The steps that all of its trials took together."""
        for trial in self.folder.glob("trials/*"):
            if trial not in self.finished and (trial / BUNDLE).exists():
                self.finished[trial] = left_by(trial)
        return sum(max((int(line["step"]) for line in read(each)), default=0) for each in self.folder.glob("trials/*"))

    @property
    def has_ended(self) -> bool:
        """Whether it came to its end, whoever drove it."""
        return (self.folder / SUMMARY).exists()

    @property
    def is_running(self) -> bool:
        """Whether its driver runs."""
        return self.process is not None and self.process.poll() is None

    def go_on(self) -> None:
        """Start its driver, unless it runs."""
        if self.is_running or self.has_ended:
            return
        words = [word for name, value in self.flags.items() for word in (f"--{name}", str(value))]
        asked = ["--resume", "last"] if self.folder.exists() else words
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "rayology", "tune", "--storage", str(self.storage), *asked],
                env={**os.environ, "RAY_ADDRESS": self.cluster.address},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def reach(self, step: float) -> None:
        """Let it run until its trials took so many steps, or it ended."""
        self.go_on()
        deadline = time.monotonic() + TIMEOUT_S
        while self.is_running and self.step < step:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.storage.name}: no progress in {TIMEOUT_S:g} s")
            time.sleep(0.05)

    def kill(self, draw: np.random.Generator) -> None:
        """Kill its driver or the process of a trial, whichever is drawn; the driver if no trial runs."""
        time.sleep(float(draw.uniform(0, LATEST_S)))
        trials = self.trial_processes()
        what = "trial" if trials and draw.random() < 0.5 else "driver"
        if not self.is_running or self.process is None:
            return
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(draw.choice(trials) if what == "trial" else self.process.pid, signal.SIGKILL)
            self.killed[what] += 1
        if what == "driver":
            self.process.wait()

    def trial_processes(self) -> list[int]:
        """Return the ids of the processes in which trials run now."""
        raylet, found = self.cluster.head_node.all_processes["raylet"][0].process.pid, []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ended meanwhile
                fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                title = stat.with_name("cmdline").read_text(encoding="utf-8", errors="replace")
                if int(fields[1]) == raylet and title.startswith("ray::ImplicitFunc"):
                    found.append(int(stat.parent.name))
        return sorted(found)

    def end(self) -> None:
        """End its driver if it runs."""
        if self.process is not None and self.is_running:
            self.process.kill()
            self.process.wait()


def left_by(trial: Path) -> bytes:
    """Return a finished trial's manifest, which says when it was written, and its history."""
    return (trial / BUNDLE / "bundle.json").read_bytes() + (trial / HISTORY).read_bytes()


@dataclass(frozen=True)
class Difference:
    """How a sweep's trials differ from those of one that was left alone."""

    lost: int
    """Points of those wanted that were not tried to an end, and repeats that were begun and did not end; how many there
    are of these chance decides where two trials run at a time, for it takes some that finish."""
    repeated: int
    """Trials that were begun twice."""
    others: tuple[int, ...]
    """Numbers of trials that are not as they would have been."""


@dataclass(frozen=True)
class Outcome:
    """What became of a sweep."""

    killed: Mapping[str, int]
    """How often which process was killed."""
    seconds: float
    trained_again: int
    """Trials whose model or history changed after they had finished."""
    difference: Difference


def disturbed(sweep: Sweep, kills: int, draw: np.random.Generator, alone: Sequence[Trial]) -> Outcome:
    """Kill a sweep at random moments, and resume it until it ends."""
    began_at, whole = time.monotonic(), sum(trial.step for trial in alone)
    for step in sorted(draw.uniform(0, whole, kills)):
        sweep.reach(step)
        sweep.kill(draw)
    sweep.reach(math.inf)
    if not sweep.has_ended:
        raise RuntimeError(sweep.log.read_text(encoding="utf-8"))
    trained_again = sum(left_by(folder) != before for folder, before in sweep.finished.items())
    difference = compared(Journal(sweep.folder).trials(), alone)
    return Outcome(sweep.killed, time.monotonic() - began_at, trained_again, difference)


def compared(trials: Sequence[Trial], alone: Sequence[Trial]) -> Difference:
    """Compare trials with those of a sweep that was left alone."""
    begun = [(*trial.point.items(), trial.seed) for trial in trials]
    tried, wanted = (
        sum(trial.repeats is None and trial.outcome not in {"", "failed"} for trial in each) for each in (trials, alone)
    )
    left = sum(trial.repeats is not None and not trial.outcome for trial in trials)
    pairs = zip_longest(map(_known, trials), map(_known, alone))
    others = tuple(number for number, (mine, theirs) in enumerate(pairs) if mine != theirs)
    return Difference(left + max(0, wanted - tried), len(begun) - len(set(begun)), others)


def _known(trial: Trial) -> Mapping[str, object]:
    """Return all of a trial that is not its time."""
    return {name: value for name, value in asdict(trial).items() if name != "seconds"}


def main(config: SearchFaultsConfig) -> Mapping[str, object]:
    """Return what became of each sweep."""
    trials, kills, concurrent = (4, 2, (1,)) if config.quick else (config.trials, config.kills, config.concurrent)
    draw, root = np.random.default_rng(config.seed), Path(tempfile.mkdtemp(prefix="search-faults-"))
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine is slower than Ray waits
    logging.getLogger("optuna").setLevel(logging.WARNING)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    sweeps: list[Sweep] = []
    outcomes: dict[str, Outcome] = {}

    def sweep_of(name: str, count: int) -> Sweep:
        flags = {**SWEEP, "search.num-trials": trials, "search.concurrent-trials": count}
        sweeps.append(Sweep(cluster, root / name, flags))
        sweeps[-1].storage.mkdir()
        return sweeps[-1]

    try:
        with progress_bar("search faults") as bar:
            bar.advance(0, 1 + len(concurrent), "a sweep that is left alone")
            whole = sweep_of("alone", 1)
            whole.reach(math.inf)
            if not whole.has_ended:
                raise RuntimeError(whole.log.read_text(encoding="utf-8"))
            alone = Journal(whole.folder).trials()
            for number, count in enumerate(concurrent, start=1):
                bar.advance(number, 1 + len(concurrent), f"trials at a time: {count}")
                outcomes[str(count)] = disturbed(sweep_of(f"at-once-{count}", count), kills, draw, alone)
    finally:
        for sweep in sweeps:
            sweep.end()
        cluster.shutdown()
        shutil.rmtree(root, ignore_errors=True)
    console.print(table(outcomes))
    return {
        "trials": len(alone),
        "sweeps": {name: asdict(outcome) for name, outcome in outcomes.items()},
        "met": {
            "no_trial_lost": not any(outcome.difference.lost for outcome in outcomes.values()),
            "no_trial_repeated": not any(
                outcome.trained_again + outcome.difference.repeated for outcome in outcomes.values()
            ),
            "one_at_a_time_as_if_left_alone": not any(
                outcome.difference.others for name, outcome in outcomes.items() if name == "1"
            ),
        },
    }


def table(outcomes: Mapping[str, Outcome]) -> Table:
    """Return a row a sweep."""
    shown = Table(
        "trials at a time",
        "drivers killed",
        "trials killed",
        "seconds",
        "lost",
        "begun twice",
        "trained again",
        "others",
    )
    for name, found in outcomes.items():
        apart = found.difference
        others = ", ".join(map(str, apart.others)) or "none"
        counts = (*found.killed.values(), round(found.seconds), apart.lost, apart.repeated, found.trained_again)
        shown.add_row(name, *map(str, counts), others)
    return shown


if __name__ == "__main__":
    run(SearchFaultsConfig, main)
