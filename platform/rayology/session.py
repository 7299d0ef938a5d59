"""A command's time on Ray: the cluster, and what people see while it works."""

import json
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from rayology.atomic import Follower
from rayology.data import PreparedDataset
from rayology.data.prepare import prepare
from rayology.data.report import report_file
from rayology.experiment import Experiment
from rayology.models.backbones import padded
from rayology.preflight import joins_cluster, ray_folder
from rayology.progress import Bar, console, progress_bar, watching
from rayology.training.cluster import awaited
from rayology.training.history import HISTORY
from rayology.training.incidents import INCIDENTS
from rayology.training.run import Run

__all__ = ["KEEP_FREED_MEMORY", "on_cluster", "prepared", "watching_run"]

logger = logging.getLogger(__name__)

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**26)}
"""What has glibc keep freed memory (mallopt(3)): faulting pages in costs more than decoding a slice into them."""
MOST_RAY_FOLDER, MOST_TMPDIR = 32, 70  # characters: the path of a socket may have 107 (unix(7)), of which Ray takes
# 70, and multiprocessing, which Ray's dashboard uses, 33.
SHORT = "/tmp"  # noqa: S108 - Ray makes a folder of its own there
FEW = 30  # images; figures of fewer swing from one to the next
TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"  # advises to turn tokens off  # noqa: S105


@contextmanager
def on_cluster() -> Iterator[None]:
    """Join the cluster of the job that this process belongs to, or start one on this machine until the block ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a report waits for the controller's next look
    if ray.is_initialized():
        yield
        return
    logging.getLogger(TOKEN_LOGGER).setLevel(logging.ERROR)
    missing = {name: value for name, value in KEEP_FREED_MEMORY.items() if name not in os.environ}
    joins = joins_cluster()
    if not joins:
        _shorten_folders()
        os.environ.update(missing)  # workers inherit them, which saves starting others in place of the first ones
    terminated = signal.getsignal(signal.SIGTERM)
    ray.init(
        None if joins else "local",
        runtime_env={"env_vars": missing} if joins else {},
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    signal.signal(signal.SIGTERM, terminated)  # Ray put a handler of its own in place
    try:
        yield
    finally:
        ray.shutdown()


def _shorten_folders() -> None:
    """Have sockets lie in /tmp whose paths would be too long: without them Ray does not start, or not its dashboard."""
    if len(ray_folder()) > MOST_RAY_FOLDER:
        os.environ["RAY_TMPDIR"] = SHORT
    if len(os.environ.get("TMPDIR", "")) > MOST_TMPDIR:
        logger.warning("TMPDIR is too long for the sockets of what Ray starts: it is %s for them.", SHORT)
        os.environ["TMPDIR"] = SHORT


def prepared(experiment: Experiment) -> PreparedDataset:
    """Prepare the experiment's source, or find that it was, and say what came of it."""
    is_phantom = experiment.source.kind == "phantom"
    with progress_bar("prepare", "drawing the phantom" if is_phantom else "listing the source's files") as bar:
        data = prepare(
            experiment.source,
            experiment.preparation,
            experiment.storage.expanduser().absolute(),
            report=lambda progress: bar.advance(progress.done, progress.total, progress.stage),
        )
    for sentence in _contents(data):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    for sentence in _warnings(experiment, data):
        console.print(sentence, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return data


def _contents(data: PreparedDataset) -> Iterator[str]:
    """Say what a dataset holds."""
    info = data.info
    found = "found as it was prepared" if data.reused else f"prepared from {info.counts.files} files"
    splits = ", ".join(
        # Where nothing says whose the images are, each counts as a patient.
        f"{split} {held.images}" + (f" of {held.patients} patients" if held.patients < held.images else "")
        for split, held in info.splits.items()
    )
    yield f"{info.counts.images} images {found}: {splits}."
    if (size := info.image.size) != (grid := padded(size)):
        own, worked = ("x".join(map(str, each)) for each in (size, grid))
        yield f"Networks pad images of {own} to {worked}, and crop what they draw."
    yield f"What it holds, to look at: {report_file(data)}"
    left_out = ", ".join(f"{count} {what}" for what, count in info.counts.left_out.items() if count)
    if left_out:
        yield f"Left out: {left_out}."
    if info.image.classes:
        yield f"Classes, named wherever the dataset and its models go: {', '.join(info.image.classes)}."
    yield from (f"{count} images: {text}." for text, count in info.changed.items())


def _warnings(experiment: Experiment, data: PreparedDataset) -> Iterator[str]:
    """Say what figures, or a training, on the dataset would suffer from."""
    info, batch_size = data.info, experiment.schedule.batch_size
    train, validation = info.splits["train"].images, info.splits["validation"].images
    if info.note:
        yield f"Read every figure with this in mind: {info.note}."
    yield from (f"{count} {what}." for what, count in info.counts.doubts.items() if count)
    asked = experiment.preparation.validation
    if (share := validation / info.counts.images) > 2 * asked and not info.note:
        yield f"{share:.0%} of the images validate, not {asked:.0%}: patients who count as one stay together."
    if batch_size > train:
        yield f"Batches of {batch_size} repeat the {train} training images: lower schedule.batch_size."
    if validation < FEW:
        yield f"{validation} images validate: figures of fewer than {FEW} say little."
    yield from (f"{count} series mended: {text}" for text, count in info.mended.items())
    yield from (f"{count} files skipped: {reason}" for reason, count in info.reasons.items())


def summary(logged: Mapping[str, float], evaluated: Mapping[str, float], *, objective: str) -> str:
    """Sum two lines of a history up, what counts most first: a terminal cuts what it has no room for.

    >>> line = {"step": 9, "vae/rate": 2.0, "vae/gradient_norm": 1.0, "lr": 0.002, "images_per_s": 320.4}
    >>> summary(line, {"step": 5, "val/psnr": 20.0, "val/mmd": 3.0, "val/mmd/real": 1.0}, objective="mmd")
    '320 images/s  lr 0.002  val/mmd 3  vae/rate 2  val/psnr 20'
    """
    rate = [f"{logged['images_per_s']:.0f} images/s"] if "images_per_s" in logged else []
    figures = {**logged, **evaluated}
    first = [name for name in ("lr", f"val/{objective}") if name in figures]
    others = [
        name
        for name in figures
        if name.count("/") == 1
        and name not in first
        and not name.endswith("/gradient_norm")  # nor real images' figures
    ]
    return "  ".join([*rate, *(f"{name} {figures[name]:.3g}" for name in (*first, *others))])


@contextmanager
def watching_run(run: Run) -> Iterator[None]:
    """Show how far a run is, read from the history that its leading worker writes."""
    history, incidents = Follower(run.folder / HISTORY), Follower(run.folder / INCIDENTS)
    incidents.lines()  # those of earlier processes
    logged: dict[str, float] = {}
    evaluated: dict[str, float] = {}

    def look(bar: Bar) -> None:
        nonlocal logged, evaluated
        for line in incidents.lines():
            console.print(line.decode(), style="yellow", markup=False, highlight=False, soft_wrap=True)
        for figures in map(json.loads, history.lines()):
            logged, evaluated = (figures, evaluated) if "lr" in figures else (logged, figures)
        if logged:
            words = summary(logged, evaluated, objective=run.experiment.search.objective)
            bar.advance(int(logged["step"]), run.experiment.schedule.steps, words)
        bar.wait(lambda: awaited(run.experiment))

    with watching("train", "starting the workers", look):
        yield
