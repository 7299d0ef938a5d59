"""What every job does around its own few lines: read the experiment, join a cluster, answer in one line of JSON."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import ray
from rich.logging import RichHandler

from rayology.config import Config, load
from rayology.data import PreparedDataset
from rayology.data.prepare import prepare
from rayology.data.report import report_file
from rayology.errors import RayologyError
from rayology.experiment import Experiment
from rayology.metrics.figures import as_table
from rayology.progress import Bar, console, progress_bar, watching
from rayology.training.history import read
from rayology.training.run import Run

__all__ = ["on_cluster", "prepared", "run", "watching_run"]

C = TypeVar("C", bound=Config)


def run(config: type[C], main: Callable[[C], Mapping[str, object]]) -> None:
    """Run a job with the config of the command line; the last line of stdout is its answer as one JSON object.

    Exits with 2, and one line that says what to write instead, where the user can mend what is wrong.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=console, show_path=False)]
    )
    logging.getLogger("rayology").setLevel(logging.INFO)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    logging.getLogger("ray.tune.analysis").setLevel(logging.ERROR)  # it misses files that trials are told not to write
    started_at = time.monotonic()
    try:
        answer = main(load(config, sys.argv[1:], program=Path(sys.argv[0]).name))
    except (RayologyError, PermissionError, FileNotFoundError, NotADirectoryError) as error:
        console.print(_explained(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        console.print(
            "Interrupted; a preparation goes on when it is started again, a run or a sweep with --resume last.",
            highlight=False,
        )
        raise SystemExit(130) from None
    print(json.dumps({**answer, "seconds": round(time.monotonic() - started_at, 1)}, default=str), flush=True)  # noqa: T201


@contextmanager
def on_cluster() -> Iterator[None]:
    """Join the cluster of the job that this process belongs to, or start one on this machine until the block ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # a report waits for the controller's next look
    if ray.is_initialized():
        yield
        return
    ray.init(logging_level=logging.WARNING, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


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
    info = data.info
    found = "found as it was prepared" if data.reused else f"prepared from {info.counts.files} files"
    splits = ", ".join(
        # Where nothing says whose the images are, each counts as a patient.
        f"{split} {held.images}" + (f" of {held.patients} patients" if held.patients < held.images else "")
        for split, held in info.splits.items()
    )
    console.print(f"{info.counts.images} images {found}: {splits}.", highlight=False)
    if info.note:
        console.print(f"Read every figure with this in mind: {info.note}.", style="yellow", highlight=False)
    console.print(f"What it holds, to look at: {report_file(data)}", soft_wrap=True, highlight=False)
    left_out = {"nearly empty": info.counts.nearly_empty, "between blocks": info.counts.dropped_in_gaps}
    left_out |= {"that repeat others": info.counts.duplicates, "of other modalities": info.counts.other_modality}
    if any(left_out.values()):
        listed = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        console.print(f"Left out: {listed}.", highlight=False)
    if info.counts.joined_patients:
        console.print(
            f"{info.counts.joined_patients} patients count as another's: they have an image in common, or nearly.",
            style="yellow",
            highlight=False,
        )
    if info.counts.not_in_table:
        console.print(
            f"{info.counts.not_in_table} images are in no row of the table: what it says of patients and splits does "
            "not hold for them.",
            style="yellow",
            highlight=False,
        )
    if info.image.classes:
        console.print(
            f"Classes, named wherever the dataset and its models go: {', '.join(info.image.classes)}.",
            highlight=False,
            markup=False,
        )
    for text, count in info.mended.items():
        console.print(f"{count} series mended: {text}", style="yellow", markup=False, highlight=False)
    for reason, count in info.reasons.items():
        console.print(f"{count} files skipped: {reason}", style="yellow", markup=False, highlight=False)
    return data


@contextmanager
def watching_run(run: Run) -> Iterator[None]:
    """Show how far a run is, read from the history that its leading worker writes, and its last validation figures."""

    def look(bar: Bar) -> None:
        lines = [line for line in read(run.folder) if "lr" in line]
        if lines:
            losses = "  ".join(
                f"{name} {value:.3g}" for name, value in lines[-1].items() if name not in {"step", "seconds"}
            )
            bar.advance(int(lines[-1]["step"]), run.experiment.schedule.steps, losses)

    with watching("train", "starting the workers", look):
        yield
    figures: dict[str, float] = {}
    for line in read(run.folder):
        figures = {name[4:]: value for name, value in line.items() if name.startswith("val/")} or figures
    console.print(as_table(figures, caption=f"On the validation split, after {run.experiment.schedule.steps} steps"))


def _explained(error: RayologyError | OSError) -> str:
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""  # Arrow names it in the text alone
        return f"{place}{error.strerror or error}; name a folder that is there and may be written"
    return f"{type(error).__name__}: {error}"
