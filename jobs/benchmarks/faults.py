"""Do to a training on several nodes what clusters do to it: it must end with the weights of one that was left alone.

python jobs/benchmarks/faults.py

The nodes are Ray's, all on this machine. Disks are filled, made read-only and taken away in a mount namespace of this
process's own (unshare(1)); where there can be none, those faults are left out, and named.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from ray._private.node import Node
from ray.cluster_utils import Cluster
from rich.table import Table
from safetensors.torch import load_file

from rayology.atomic import write_atomic
from rayology.config import Config
from rayology.job import run
from rayology.progress import console, progress_bar
from rayology.training.checkpoint import newest, newest_step
from rayology.training.history import read
from rayology.training.incidents import read_incidents
from rayology.training.observer import CHECKPOINTS

TIMEOUT_S = 400.0
OWN_MOUNTS = "RAYOLOGY_FAULTS_OWN_MOUNTS"  # set in a process that may mount without anybody else's seeing it
DISK_MIB = 256
CHECKPOINT_EVERY = 10
TRAINING = {
    "source.patients": 12,
    "source.slices": 4,
    "source.size": 64,
    "preparation.size": 32,
    "model.encoder.width": 8,
    "model.decoder.width": 8,
    "schedule.batch-size": 16,
    "schedule.evaluate-every": 100,
    "schedule.checkpoint-every": CHECKPOINT_EVERY,
    "schedule.log-every": 1,
    "scaling.num-workers": 2,
    "scaling.precision": "float64",
}


class FaultsConfig(Config):
    """Which faults, and for how long."""

    steps: PositiveInt = 300
    """Steps of each training; a checkpoint is due after every tenth."""
    outage_s: PositiveFloat = 10.0
    """Time in seconds for which a disk is full, read-only or gone; longer if no checkpoint would be due in it."""
    flips: NonNegativeInt = 400
    """Number of checkpoints with one flipped bit."""
    faults: tuple[str, ...] = ()
    """Names of the faults to try; empty for all."""
    quick: bool = False
    """A killed worker and 40 flipped bits alone, with fewer steps."""


@dataclass
class Training:
    """A training that runs in a process of its own, as a job does, on the nodes of a cluster."""

    cluster: Cluster
    storage: Path
    flags: Mapping[str, object]
    least_outage_s: float
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file of what it says to people."""
        return self.storage.with_name(f"{self.storage.name}.log")

    @property
    def folder(self) -> Path:
        """The run's own folder, once it has one."""
        found = sorted((self.storage / "runs").glob("*"))
        return found[-1] if found else self.storage / "none"

    @property
    def step(self) -> int:
        """The last step in the run's history."""
        return max((int(line["step"]) for line in read(self.folder)), default=0)

    @property
    def outage_s(self) -> float:
        """Time in seconds of an outage, in which a checkpoint is due."""
        a_step = max((line["seconds"] / line["step"] for line in read(self.folder)), default=0.0)
        return max(self.least_outage_s, 1.5 * CHECKPOINT_EVERY * a_step)

    def start(self, *more: str) -> None:
        """Submit it."""
        words = [word for name, value in self.flags.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "rayology", "train", "--storage", str(self.storage), *words, *more],
            env={**os.environ, "RAY_ADDRESS": self.cluster.address},
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("ab"),
        )

    def reach(self, step: int) -> int:
        """Wait until it took so many steps; return how many it took."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.step < step and time.monotonic() < deadline and self.is_running:
            time.sleep(0.05)
        return self.step

    @property
    def is_running(self) -> bool:
        """Whether the job has not ended."""
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """End it if it runs."""
        if self.process is not None and self.is_running:
            self.process.kill()
            self.process.wait()

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        assert self.process is not None  # noqa: S101 - it was started
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def workers(self) -> dict[int, Node]:
        """Return the workers' process ids and nodes, the leading worker first."""
        found = {}
        for node in self.cluster.list_all_nodes():
            raylet = node.all_processes["raylet"][0].process.pid
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    name, _, fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")
                except OSError:  # it ended meanwhile
                    continue
                if "(ray::" in name and int(fields.split()[1]) == raylet and is_worker(stat.with_name("cmdline")):
                    found[int(stat.parent.name)] = node
        return found


def is_worker(cmdline: Path) -> bool:
    """Tell whether a process is a worker of a training."""
    try:
        return "RayTrainWorker" in cmdline.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def kill_worker(training: Training) -> None:
    """SIGKILL, as the kernel does when memory runs out."""
    os.kill(list(training.workers())[-1], signal.SIGKILL)


def hang_worker(training: Training) -> None:
    """SIGSTOP: it neither answers nor ends."""
    os.kill(list(training.workers())[-1], signal.SIGSTOP)


def kill_node(training: Training) -> None:
    """Take a node away without notice, and give another one."""
    lose_node(training)
    training.cluster.add_node(num_cpus=1)


def lose_node(training: Training) -> None:
    """Take a node away without notice."""
    training.cluster.remove_node(list(training.workers().values())[-1], allow_graceful=False)


def drain_node(training: Training) -> None:
    """Give notice of a node's end, and another one."""
    node = list(training.workers().values())[-1]
    training.cluster.add_node(num_cpus=1)
    ray = str(Path(sys.executable).with_name("ray"))
    asked = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "benchmark")
    where = ("--address", training.cluster.address, "--node-id", node.node_id)
    call(ray, "drain-node", *where, *asked, "--deadline-remaining-seconds", "60")
    deadline = time.monotonic() + 60
    while node in training.workers().values() and time.monotonic() < deadline:
        time.sleep(0.5)
    training.cluster.remove_node(node, allow_graceful=False)


def kill_driver(training: Training) -> None:
    """SIGKILL the job, and submit it again as it was."""
    assert training.process is not None  # noqa: S101 - it was started
    training.process.kill()
    training.process.wait()
    training.start("--resume", "auto")


def damage_checkpoint(training: Training) -> None:
    """SIGKILL all workers, so that none writes another, and flip a bit of the newest checkpoint."""
    for worker in training.workers():
        os.kill(worker, signal.SIGKILL)
    file = newest(training.folder / CHECKPOINTS)
    assert file is not None  # noqa: S101 - it took more steps than to the first
    file.write_bytes(flipped(file.read_bytes(), np.random.default_rng(0)))


def fill_disk(training: Training) -> None:
    """Fill the disk for a while."""
    filler = training.storage / "filler"
    with filler.open("wb", buffering=0) as opened:
        try:
            while True:
                opened.write(bytes(2**16))
        except OSError:
            time.sleep(training.outage_s)
    filler.unlink()


def forbid_writing(training: Training) -> None:
    """Make the disk read-only for a while."""
    outage_s = training.outage_s
    with taken_away(training.storage) as disk:
        call("mount", "--bind", disk, training.storage)
        call("mount", "-o", "remount,bind,ro", training.storage)
        time.sleep(outage_s)
        call("umount", "-l", training.storage)


def unmount(training: Training) -> None:
    """Take the disk away for a while."""
    outage_s = training.outage_s
    with taken_away(training.storage):
        time.sleep(outage_s)


@contextmanager
def taken_away(storage: Path) -> Iterator[Path]:
    """Unmount a storage, whatever has files of it open, and mount it again when the block ends."""
    disk = storage.with_name(f"{storage.name}.disk")
    call("umount", "-l", storage)
    try:
        yield disk
    finally:
        call("mount", "--bind", disk, storage)


def call(*words: str | Path) -> None:
    """Run a program of the system to its end."""
    subprocess.run(words, check=True, capture_output=True)  # noqa: S603 - our own words


@dataclass(frozen=True)
class Fault:
    """What is done to a training, once it took some steps."""

    do: Callable[[Training], None]
    tells: str
    """Part of what is told of it; empty if its training knows nothing of it."""
    flags: Mapping[str, object] = field(default_factory=dict)
    most_lost: int = 20
    """Most steps that may have to be taken again; a checkpoint is due after every tenth, and takes a while to write."""
    is_exact: bool = True
    """Whether it ends with the same number of workers, and so with the same bits."""


FAULTS: Mapping[str, Fault] = {
    "worker killed": Fault(kill_worker, "was lost"),
    "worker hangs": Fault(hang_worker, "was lost", {"scaling.timeout-minutes": 0.25}),
    "node gone, another comes": Fault(kill_node, "was lost"),
    "node gone for good": Fault(lose_node, "was lost", {"scaling.min-workers": 1}, is_exact=False),
    "node drained with notice": Fault(drain_node, "is being taken away", most_lost=1),
    "driver killed, job submitted again": Fault(kill_driver, ""),
    "newest checkpoint damaged": Fault(damage_checkpoint, "is damaged", most_lost=30),
}
OF_DISKS: Mapping[str, Fault] = {
    "disk full": Fault(fill_disk, "could not be written", most_lost=0),
    "storage read-only": Fault(forbid_writing, "could not be written", most_lost=0),
    "storage gone": Fault(unmount, "could not be written", most_lost=0),
}


@dataclass(frozen=True)
class Outcome:
    """How a training ended to which something was done."""

    status: int
    lost: int
    difference: float
    """Largest difference of a weight, relative to the largest weight, from a training that was left alone."""
    told: str
    is_told: bool
    """Whether what happened was told, if its training could know."""


def suffered(fault: Fault, training: Training, *, at: int, alone: Path) -> Outcome:
    """Start a training, do it harm after a number of steps, and see how it ends."""
    training.start()
    try:
        training.reach(at)
        with steps_lost(training) as lost:
            fault.do(training)
            status = training.wait()
    finally:
        training.end()
    lines = [line[20:] for line in read_incidents(training.folder)]
    told = next((line for line in lines if fault.tells and fault.tells in line), "")
    is_told = bool(told) or not fault.tells
    if status:
        told += " Its last words: " + training.log.read_text(encoding="utf-8").strip().splitlines()[-1]
    return Outcome(status, sum(lost), difference(training.folder, alone), told, is_told)


@contextmanager
def steps_lost(training: Training) -> Iterator[list[int]]:
    """Give the numbers of steps by which the history falls back while the block runs."""
    lost: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        before = 0
        while not ended.wait(0.02):
            now = training.step
            if now < before and training.folder.exists():
                lost.append(before - now)
            before = now or before

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lost
    finally:
        ended.set()
        thread.join()


def difference(folder: Path, alone: Path) -> float:
    """Return how far two trainings ended from each other; infinite if one did not end."""
    files = [newest(each / CHECKPOINTS) for each in (folder, alone)]
    if None in files or newest_step(folder / CHECKPOINTS) != newest_step(alone / CHECKPOINTS):
        return float("inf")
    mine, others = (load_file(file) for file in files if file is not None)
    apart = max(float((mine[name].double() - others[name].double()).abs().max()) for name in others)
    return apart / max(float(weight.double().abs().max()) for weight in others.values())


def flipped(content: bytes, draw: np.random.Generator) -> bytes:
    """Return some bytes with one bit flipped."""
    place, bit = draw.integers([len(content), 8])
    changed = bytearray(content)
    changed[place] ^= 1 << int(bit)
    return bytes(changed)


def noticed(checkpoint: Path, count: int, scratch: Path) -> int:
    """Return how many of so many copies with one flipped bit are noticed."""
    logging.getLogger("rayology.training.checkpoint").setLevel(logging.ERROR)  # each is warned of
    draw, content, found = np.random.default_rng(0), checkpoint.read_bytes(), 0
    for _ in range(count):
        write_atomic(scratch / checkpoint.name, flipped(content, draw))
        found += newest(scratch) is None
    return found


@contextmanager
def storage_of(root: Path, name: str, *, is_own_disk: bool) -> Iterator[Path]:
    """Give a storage, on a small disk of its own if it is one that something happens to."""
    storage = root / name.replace(" ", "-").replace(",", "")
    storage.mkdir()
    if not is_own_disk:
        yield storage
        return
    disk = storage.with_name(f"{storage.name}.disk")
    disk.mkdir()
    call("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", disk)
    call("mount", "--bind", disk, storage)
    try:
        yield storage
    finally:
        call("umount", "-l", storage, disk)


def main(config: FaultsConfig) -> Mapping[str, object]:
    """Return what became of each training, and how many flipped bits were noticed."""
    possible = {**FAULTS, **(OF_DISKS if OWN_MOUNTS in os.environ else {})}
    wanted = ("worker killed",) if config.quick else config.faults or tuple(possible)
    steps, flips = (100, 40) if config.quick else (config.steps, config.flips)
    outcomes: dict[str, Outcome] = {}
    table = Table("fault", "exit status", "steps lost", "weights apart", "what was told")
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine is slower than Ray waits
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    try:
        with progress_bar("faults") as bar:
            flags = {**TRAINING, "schedule.steps": steps}
            with storage_of(root, "alone", is_own_disk=False) as storage:
                alone = Training(cluster, storage, flags, config.outage_s)
                alone.start()
                if alone.wait():
                    raise RuntimeError(alone.log.read_text(encoding="utf-8"))
            for number, name in enumerate(wanted):
                bar.advance(number, len(wanted), name)
                fault = possible[name]
                with storage_of(root, name, is_own_disk=name in OF_DISKS) as storage:
                    shutil.copytree(alone.storage, storage, ignore=shutil.ignore_patterns("runs"), dirs_exist_ok=True)
                    training = Training(cluster, storage, {**flags, **fault.flags}, config.outage_s)
                    outcomes[name] = found = suffered(fault, training, at=steps // 3, alone=alone.folder)
                table.add_row(name, str(found.status), str(found.lost), f"{found.difference:.1g}", found.told)
                restore(cluster)
        last = newest(alone.folder / CHECKPOINTS)
        assert last is not None  # noqa: S101 - it ended
        (root / "flipped").mkdir()
        seen = noticed(last, flips, root / "flipped")
    finally:
        cluster.shutdown()
        shutil.rmtree(root, ignore_errors=True)
    console.print(table, f"{seen} of {flips} flipped bits were noticed.")
    left_out = sorted({**FAULTS, **OF_DISKS}.keys() - possible.keys())
    return {
        "faults": {name: vars(outcome) for name, outcome in outcomes.items()},
        "left_out": left_out,
        "flips": flips,
        "noticed": seen,
        "met": {
            "every_fault_is_told": all(outcome.is_told for outcome in outcomes.values()),
            "every_run_ends": all(outcome.status == 0 for outcome in outcomes.values()),
            "few_steps_lost": all(outcome.lost <= possible[name].most_lost for name, outcome in outcomes.items()),
            "same_weights": all(
                outcome.difference <= (0 if possible[name].is_exact else 1e-6) for name, outcome in outcomes.items()
            ),
            "every_flipped_bit_noticed": seen == flips,
        },
    }


def restore(cluster: Cluster) -> None:
    """Give the cluster its two nodes again."""
    for _ in range(3 - len(cluster.list_all_nodes())):
        cluster.add_node(num_cpus=1)


def in_own_mounts(words: Sequence[str]) -> None:
    """Start this process again with mounts of its own, if it may have them."""
    own = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    probe = "mount -t tmpfs tmpfs /mnt"
    if OWN_MOUNTS in os.environ or shutil.which("unshare") is None:
        return
    with suppress(subprocess.CalledProcessError):
        call(*own, "sh", "-c", probe)
        os.environ[OWN_MOUNTS] = "1"
        os.execvp(own[0], [*own, sys.executable, *words])  # noqa: S606 - this very script


if __name__ == "__main__":
    in_own_mounts(sys.argv)
    torch.set_num_threads(1)
    run(FaultsConfig, main)
