"""A run: its folder, and what one process does in it from the first step to the bundle."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypedDict

import torch
from torch import Tensor

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.data import Plan, PreparedDataset, feeding
from rayology.errors import ConfigError, DataError, Diverged
from rayology.experiment import Experiment
from rayology.image import Batch
from rayology.training import checkpoint, precision
from rayology.training.evaluation import Evaluator
from rayology.training.gradients import ALONE, Workers
from rayology.training.history import History
from rayology.training.loop import Training, fit, keyed

__all__ = ["BUNDLE", "Assignment", "Report", "Run", "augmented", "finish", "open_run", "plan_of", "train_here"]

EXPERIMENT, BUNDLE = "experiment.json", "bundle"


class Assignment(TypedDict):
    """What a driver tells the process that trains, in plain values."""

    experiment: dict[str, object]
    dataset: str
    folder: str


Report = Callable[[Mapping[str, float], Path | None], None]
"""Takes the figures of an evaluation and the folder of its checkpoint; only the leading process has either."""


@dataclass(frozen=True)
class Run:
    """A training or a sweep on disk: ``<storage>/<runs or sweeps>/<name>``."""

    folder: Path
    experiment: Experiment
    is_resumed: bool = False


def open_run(experiment: Experiment, kind: Literal["runs", "sweeps"]) -> Run:
    """Start a run under a new name, or find the one to go on with; that one keeps the experiment it began with.

    Raises:
        ConfigError: there is no run of that name.
    """
    parent = experiment.storage.expanduser().absolute() / kind
    if not experiment.resume:
        folder = parent / f"{experiment.name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        folder.mkdir(parents=True)
        (folder / EXPERIMENT).touch(mode=0o600)  # the source's path may name a patient
        (folder / EXPERIMENT).write_text(experiment.model_dump_json(indent=2), encoding="utf-8")
        return Run(folder, experiment)
    begun_at = {file.parent.name: file.stat().st_mtime_ns for file in parent.glob(f"*/{EXPERIMENT}")}
    known = sorted(begun_at, key=lambda name: begun_at[name])
    name = known[-1] if known and experiment.resume == "last" else experiment.resume
    if name not in known:
        raise ConfigError(
            f"resume: {parent} holds no {name!r}; the newest there are: {', '.join(known[-3:]) or 'none yet'}"
        )
    begun = Experiment.model_validate_json((parent / name / EXPERIMENT).read_bytes())
    asked = _without_place(experiment)
    if asked not in (_without_place(Experiment()), _without_place(begun)):
        raise ConfigError(f"resume: {name} goes on with the experiment that it began with; leave out what changes it")
    return Run(parent / name, begun.patched({"storage": str(experiment.storage)}), is_resumed=True)


def _without_place(experiment: Experiment) -> dict[str, object]:
    return experiment.model_dump(mode="json", exclude={"name", "resume", "storage"})


def train_here(  # noqa: PLR0913 - the last three say where and for whom
    experiment: Experiment,
    data: PreparedDataset,
    folder: Path,
    *,
    start: Path | None,
    report: Report,
    device: torch.device,
    workers: Workers = ALONE,
) -> Training:
    """Train in this process from a checkpoint, or from the first step, and return where it ended.

    The leading process evaluates, and writes the history into ``folder``.
    """
    torch.set_num_threads(experiment.scaling.cpus_per_worker)
    precision.forbid_tf32()
    training = Training.start(experiment, data.info.image, device)
    if start is not None:
        checkpoint.restore(training, start)
    dtype = next(training.model.parameters()).dtype
    evaluator = Evaluator(experiment, data, device) if workers.leads else None
    with (
        History(folder, step=training.step) if workers.leads else nullcontext() as history,
        feeding(data.split("train"), plan_of(experiment, workers, step=training.step), device) as feed,
    ):

        def batches(step: int, rows: slice) -> Batch:
            batch = feed(step, rows)
            return Batch(augmented(experiment, step, rows, batch.images).to(dtype), batch.labels)

        def log(step: int, figures: Mapping[str, float]) -> None:
            if history is not None:
                history.write(step, figures)

        def evaluate(training: Training) -> None:
            if history is None or evaluator is None:
                report({}, None)
                return
            try:
                figures = evaluator.glance(training.average)
            except DataError as error:
                raise Diverged(f"at step {training.step}: {error}; lower optimizer.lr") from None
            history.write(training.step, {f"val/{name}": figure for name, figure in figures.items()})
            with tempfile.TemporaryDirectory() as scratch:
                checkpoint.save(training, Path(scratch))
                report({"step": training.step, **figures}, Path(scratch))

        fit(experiment, training, batches, log=log, evaluate=evaluate, workers=workers)
    return training


def plan_of(experiment: Experiment, workers: Workers, *, step: int) -> Plan:
    """Return the batches that one of the processes takes from a step to the last."""
    schedule = experiment.schedule
    return Plan(
        steps=range(step, schedule.steps),
        rows=workers.microbatches(schedule.batch_size, experiment.microbatches),
        batch_size=schedule.batch_size,
        seed=experiment.seed,
        sampling=schedule.sampling,
    )


def augmented(experiment: Experiment, step: int, rows: slice, images: Tensor) -> Tensor:
    """Return some rows of a step's global batch, transformed as the experiment asks, whoever has the others."""
    if not experiment.augment.is_on:
        return images
    generator = torch.Generator().manual_seed(keyed(experiment.seed, "augment", step))
    return experiment.augment.draw(experiment.schedule.batch_size, generator=generator)[rows].images(images)


def finish(experiment: Experiment, data: PreparedDataset, training: Training, path: Path) -> Bundle:
    """Evaluate in full and write the bundle."""
    model = training.average.float()  # as it is loaded and served
    device = next(model.parameters()).device
    return write_bundle(
        path,
        experiment=experiment,
        model=model,
        metrics=Evaluator(experiment, data, device).examine(model),
        provenance=provenance_of(
            dataset=data.info.fingerprint, note=data.info.note, seed=experiment.seed, steps=training.step
        ),
    )
