"""What one process does of a training, from the first step to the bundle."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch

from rayology.bundle import Bundle, load_inference_weights, provenance_of, write_bundle
from rayology.data import Plan, PreparedDataset, feeding
from rayology.errors import Diverged
from rayology.experiment import Experiment
from rayology.image import Batch
from rayology.metrics.figures import as_markdown
from rayology.models import Segments
from rayology.noise import derive_seed
from rayology.training import checkpoint, precision
from rayology.training.evaluation import Evaluator
from rayology.training.gradients import ALONE, Workers
from rayology.training.loop import Training, fit
from rayology.training.memory import cut_again, cut_to_fit
from rayology.training.observer import CHECKPOINTS, Report, measured, observing
from rayology.training.recovery import is_rolled_back, roll_back, slowed
from rayology.training.run import INIT
from rayology.training.stopping import stoppable
from rayology.training.watchdog import watchdog

__all__ = ["augmented", "finish", "plan_of", "train_here"]

logger = logging.getLogger(__name__)


def train_here(  # noqa: PLR0913 - what is trained where, and the processes it is shared with
    experiment: Experiment,
    data: PreparedDataset,
    folder: Path,
    *,
    report: Report,
    device: torch.device,
    workers: Workers = ALONE,
    is_leaving: Callable[[], bool] = lambda: False,
) -> Training:
    """Train in this process from the newest checkpoint of the folder, or the first step, to the last or where asked.

    All processes evaluate; the leading one writes history and checkpoints into ``folder``. The last evaluation before a
    checkpoint is reported again, because its report may not have survived. All processes stop early, with a checkpoint,
    if the machine of one ``is_leaving``.

    Raises:
        OutOfMemory: a step takes more memory than there is.
        Diverged: a loss or a sample is no longer finite, or samples have collapsed.
        TrainingError: either did, and the run goes on otherwise when it is started again.
    """
    limit = timedelta(minutes=experiment.scaling.timeout_minutes)
    torch.set_num_threads(experiment.scaling.cpus_per_worker)
    precision.forbid_tf32()
    with ExitStack() as held:
        moves = held.enter_context(watchdog(limit.total_seconds()))
        start = workers.agreed(checkpoint.newest(folder / CHECKPOINTS) if workers.leads else None)
        may_roll_back = experiment.optimizer.divergence == "roll_back"
        if workers.agreed(is_rolled_back(folder) if workers.leads else None):
            experiment, may_roll_back = slowed(experiment), False
        experiment = cut_to_fit(experiment, data.info.image, device, folder, workers, begins=start is None)
        training = Training.start(experiment, data.info.image, device)
        if start:
            checkpoint.restore(training, start, dataset=data.info.fingerprint)
        elif "model" in experiment.init:
            weights = Bundle.load(folder / INIT / "model").weights()
            for model in (training.model, training.average):
                load_inference_weights(model, weights)
        wanted = experiment.scaling.num_workers
        if workers.leads and (start or workers.count < wanted):
            logger.info("The training goes on from step %d; workers: %d of %d.", training.step, workers.count, wanted)
        dtype = next(training.model.parameters()).dtype
        observer = held.enter_context(
            observing(experiment, data, folder, device, report, step=training.step, workers=workers)
        )
        feed = held.enter_context(
            feeding(data.split("train"), plan_of(experiment, workers, step=training.step), device)
        )
        is_asked_to_stop = held.enter_context(stoppable(folder, workers, is_leaving, timeout=limit))
        if workers.agreed(bool(observer.figures)):
            observer.report(observer.figures)

        def batches(step: int, rows: slice) -> Batch:
            moves()
            batch = augmented(experiment, step, rows, feed(step, rows))
            return replace(batch, images=batch.images.to(dtype))

        try:
            fit(
                experiment,
                training,
                batches,
                log=observer.log,
                evaluate=observer.evaluate,
                checkpoint=observer.checkpoint,
                is_asked_to_stop=is_asked_to_stop,
                workers=workers,
            )
        except torch.OutOfMemoryError:
            raise cut_again(experiment, folder) from None
        except Diverged as error:
            raise (roll_back(folder, error) if may_roll_back else error) from None
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
        pack=experiment.model.pack,
        with_masks=issubclass(experiment.model.builds(), Segments),
    )


def augmented(experiment: Experiment, step: int, rows: slice, batch: Batch) -> Batch:
    """Return some rows of a step's global batch, transformed as the experiment asks, whoever has the others.

    Masks move with their images.
    """
    if not experiment.augment.is_on:
        return batch
    generator = torch.Generator().manual_seed(derive_seed(experiment.seed, "augment", step))
    change = experiment.augment.draw(experiment.schedule.batch_size, generator=generator)[rows]
    masks = None if batch.masks is None else change.masks(batch.masks)
    return replace(batch, images=change.images(batch.images), masks=masks)


def finish(
    experiment: Experiment, data: PreparedDataset, training: Training, path: Path, workers: Workers = ALONE
) -> Bundle | None:
    """Evaluate in full, all processes together, and return the bundle, which the leading one writes."""
    experiment = slowed(experiment) if is_rolled_back(path.parent) else experiment
    model = training.average.float()  # as it is loaded and served
    evaluator = Evaluator(experiment.seed, data, next(model.parameters()).device, workers=workers)
    with watchdog(60 * experiment.scaling.timeout_minutes):
        metrics = measured(training, evaluator.full)
    if not workers.leads:
        return None
    return write_bundle(
        path,
        experiment=experiment,
        model=model,
        metrics=metrics,
        figures=as_markdown(metrics),
        provenance=provenance_of(
            dataset=data.info.fingerprint,
            note=data.info.note,
            seed=experiment.seed,
            steps=training.step,
            parents=tuple(Bundle.load(folder).fingerprint for folder in sorted((path.parent / INIT).glob("*"))),
        ),
    )
