"""The recipe, without Ray: a training step is the model's phases in order."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn, optim

from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.models import Model, Phase
from rayology.noise import Noise, batch_noise, derive_seed, placed, rows_of
from rayology.primitives import PRIMITIVES
from rayology.training import precision
from rayology.training.ema import decay, update_average
from rayology.training.finite import FiniteGuard
from rayology.training.gradients import ALONE, Workers, only_trainable
from rayology.training.schedule import lr_factor

__all__ = ["Batches", "Training", "fit"]

Batches = Callable[[int, slice], Batch]
"""Maps a step and rows of its global batch to those images, which are valid until the next step."""


@dataclass
class Training:
    """All that changes while a model is trained, and so all that a checkpoint holds."""

    model: Model
    average: Model
    """The model with averaged weights: the one that is evaluated, kept and served."""
    optimizers: Sequence[optim.Optimizer]
    step: int = 0

    @classmethod
    def start(cls, experiment: Experiment, image: ImageSpec, device: torch.device) -> "Training":
        """Build the model on a device, its weights drawn from the experiment's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(experiment.seed, "weights"))
            model = experiment.model.build(image)
        model.to(device, precision.dtype_of(precision.resolve(experiment.scaling, device)))
        for weight in model.parameters():
            # Makes convolutions 1.3 to 1.8 times faster on CPU and GPU, those of volumes 1.1 to 1.3 times on a CPU.
            if primitives := PRIMITIVES.get(weight.ndim - 2):
                weight.data = weight.data.contiguous(memory_format=primitives.channels_last)
        average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        optimizers = [optim.Adam(phase.parameters, betas=phase.betas, fused=True) for phase in model.phases()]
        return cls(model, average, optimizers)


def fit(  # noqa: PLR0913 - three moments to look at a training, and the processes it runs on
    experiment: Experiment,
    training: Training,
    batches: Batches,
    *,
    log: Callable[[Training, Mapping[str, float]], None],
    evaluate: Callable[[Training], None],
    checkpoint: Callable[[Training], None],
    is_asked_to_stop: Callable[[], bool] = lambda: False,
    workers: Workers = ALONE,
) -> None:
    """Train in place from ``training.step`` to the last step, or to one after which it is asked to stop.

    Every process calls ``log``, with figures of the whole batch, ``evaluate`` and ``checkpoint`` at the same steps,
    and ``checkpoint`` after the last one that is taken.

    Raises:
        Diverged: a figure is no longer finite; every process raises it at the same step, before anything is evaluated
            or kept. Weights, moments and buffers are then as they were before the step of that figure; only moments
            that an earlier phase began in that very step stay.
    """
    schedule, model = experiment.schedule, training.model
    phases = model.phases()
    rows = workers.microbatches(schedule.batch_size, experiment.microbatches)
    guard = FiniteGuard(next(model.parameters()).device)

    is_last = training.step >= schedule.steps
    while not is_last:
        step, lr = training.step, experiment.optimizer.lr * lr_factor(training.step, schedule)
        pieces = [batches(step, own) for own in rows]
        moving = _moving_early(training)
        before = [tensor.clone() for tensor in moving]
        figures: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}

        for phase, optimizer in zip(phases, training.optimizers, strict=True):
            if step % phase.every:
                continue
            noise = batch_noise(
                phase.noise, seed=experiment.seed, purpose=phase.name, step=step, count=schedule.batch_size
            )
            only_trainable(model, phase.parameters)
            seen, added = _accumulate(experiment, phase, pieces, [rows_of(noise, own) for own in rows], workers)
            norm = nn.utils.clip_grad_norm_(phase.parameters, experiment.optimizer.clip_norm)
            seen[f"{phase.name}/gradient_norm"] = norm
            guard.watch({**seen, **{f"{path} in sum": each.double().sum() for path, each in added.items()}}, step=step)
            optimizer.found_inf = guard.found  # type: ignore[attr-defined] # where torch's own loss scaler puts it
            for group in optimizer.param_groups:
                group["lr"] = lr * phase.lr
            optimizer.step()
            optimizer.zero_grad()
            figures, sums = {**figures, **seen}, {**sums, **added}

        model.after_step(sums)
        guard.undo(moving, before)
        kept = decay(step * schedule.batch_size, schedule.batch_size, half_life=experiment.optimizer.ema_images)
        update_average(_averaged(training.average), _averaged(model), kept=kept, held=guard.found)
        for old, new in zip(training.average.buffers(), model.buffers(), strict=True):
            old.copy_(new)
        training.step += 1
        is_last = is_asked_to_stop() or training.step == schedule.steps

        if schedule.is_logged(training.step):
            log(training, {**guard.read(figures), "lr": lr})
        if schedule.is_evaluated(training.step):
            guard.read({})
            evaluate(training)
        if is_last or schedule.is_checkpointed(training.step):
            guard.read({})
            checkpoint(training)


def _accumulate(
    experiment: Experiment, phase: Phase, pieces: Sequence[Batch], noise: Sequence[Noise], workers: Workers
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Add up the gradients of the global mean over microbatches and processes.

    Returns:
        The mean of each term and what is summed, by ``phase/name``; the same in every process.
    """
    figures: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    num_rows = experiment.schedule.batch_size // experiment.model.pack
    for batch, drawn in zip(pieces, noise, strict=True):
        device = batch.images.device
        with precision.autocast(precision.resolve(experiment.scaling, device), device):
            outcome = phase.terms(batch, placed(drawn, batch.images))
        means = {name: term.sum() / num_rows for name, term in outcome.terms.items()}
        torch.stack(list(means.values())).sum().backward(inputs=phase.parameters)
        for total, parts in ((figures, means), (sums, outcome.sums)):
            for name, part in parts.items():
                path = f"{phase.name}/{name}"
                total[path] = total[path] + part.detach() if path in total else part.detach().clone()
    gradients = [parameter.grad for parameter in phase.parameters if parameter.grad is not None]
    workers.sum([*gradients, *figures.values(), *sums.values()])
    return figures, sums


def _moving_early(training: Training) -> list[Tensor]:
    """Return what moves before the last phase tells whether a step is finite; Adam holds back the rest."""
    earlier = training.optimizers[:-1]
    weights = [weight for optimizer in earlier for group in optimizer.param_groups for weight in group["params"]]
    moments = [moment for optimizer in earlier for each in optimizer.state.values() for moment in each.values()]
    return [*training.model.buffers(), *weights, *moments]


def _averaged(model: Model) -> list[nn.Parameter]:
    """Return the weights that are averaged, evaluated and kept."""
    return [weight for name, weight in model.named_parameters() if name.split(".")[0] in model.inference_modules]
