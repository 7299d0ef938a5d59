"""The recipe, without Ray: a training step is the model's phases in order."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.models import Model, Phase
from rayology.noise import Noise, batch_noise, derive_seed, placed, rows_of
from rayology.primitives import PRIMITIVES
from rayology.training import precision
from rayology.training.ema import decay, update_average
from rayology.training.finite import FiniteGuard
from rayology.training.gradients import ALONE, Workers, clip_norm, only_trainable
from rayology.training.optimizer import Adam
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
    optimizers: Sequence[Adam]
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
            # A weight of one channel is contiguous either way, so each is copied: the first decides for the rest.
            if primitives := PRIMITIVES.get(weight.ndim - 2):
                weight.data = torch.empty_like(weight, memory_format=primitives.channels_last).copy_(weight.data)
        average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        optimizers = [Adam(phase.parameters, fused=True) for phase in model.phases()]
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
    phases, weights = model.phases(), [*model.parameters()]
    rows = workers.microbatches(schedule.batch_size, experiment.microbatches)
    context = precision.autocast(precision.resolve(experiment.scaling, weights[0].device), weights[0].device)
    guard = FiniteGuard(weights[0].device)
    averaged = [_averaged(each) for each in (training.average, model)]
    buffers = [[*each.buffers()] for each in (training.average, model)]

    figures: dict[str, Tensor] = {}  # the newest of each phase, some of which run in some steps alone
    is_last = training.step >= schedule.steps
    while not is_last:
        step, lr = training.step, experiment.optimizer.lr * lr_factor(training.step, schedule)
        pieces = [batches(step, own) for own in rows]
        model.progress = step / schedule.steps
        moving = _moving_early(training, buffers[1])
        before = [tensor.clone() for tensor in moving]
        sums: dict[str, Tensor] = {}

        for phase, optimizer in zip(phases, training.optimizers, strict=True):
            if step % phase.every:
                continue
            noise = batch_noise(
                phase.noise, seed=experiment.seed, purpose=phase.name, step=step, count=schedule.batch_size
            )
            only_trainable(weights, phase.parameters)
            with_noise = [(piece, rows_of(noise, own)) for piece, own in zip(pieces, rows, strict=True)]
            seen, added = _accumulate(phase, with_noise, context, schedule.batch_size // experiment.model.pack)
            gradients = [parameter.grad for parameter in phase.parameters if parameter.grad is not None]
            workers.sum([*gradients, *seen.values(), *added.values()])
            seen[f"{phase.name}/gradient_norm"] = clip_norm(gradients, experiment.optimizer.clip_norm)
            guard.watch({**seen, **{f"{path} in sum": each.double().sum() for path, each in added.items()}}, step=step)
            optimizer.move(lr=lr * phase.lr, betas=phase.betas(model.progress), held=guard.found)
            figures, sums = {**figures, **seen}, {**sums, **added}

        model.after_step(sums)
        guard.undo(moving, before)
        kept = decay(step * schedule.batch_size, schedule.batch_size, half_life=experiment.optimizer.ema_images)
        update_average(*averaged, kept=kept, held=guard.found)
        for old, new in zip(*buffers, strict=True):
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
    phase: Phase, pieces: Iterable[tuple[Batch, Noise]], context: AbstractContextManager[object], num_rows: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Add up the gradients of the mean over all rows of the global batch, over the pieces that this process has.

    Returns:
        The share of these pieces in the mean of each term, and in what is summed, by ``phase/name``.
    """
    figures: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    for batch, noise in pieces:
        with context:
            outcome = phase.terms(batch, placed(noise, batch.images))
        learned = [term for term in outcome.terms.values() if term.requires_grad]
        shares = [term.new_full((), 1 / num_rows).expand_as(term) for term in learned]
        torch.autograd.backward(learned, shares, inputs=phase.parameters)
        means = {name: term.detach().sum() / num_rows for name, term in outcome.terms.items()}
        for total, parts in ((figures, means), (sums, outcome.sums)):
            for name, part in parts.items():
                path = f"{phase.name}/{name}"
                total[path] = total[path] + part.detach() if path in total else part.detach().clone()
    return figures, sums


def _moving_early(training: Training, buffers: Sequence[Tensor]) -> list[Tensor]:
    """Return what moves before the last phase tells whether a step is finite; Adam holds back the rest."""
    moving = [*buffers]
    for optimizer in training.optimizers[:-1]:
        moving += [weight.detach() for group in optimizer.param_groups for weight in group["params"]]
        moving += [moment for each in optimizer.state.values() for moment in each.values()]
    return moving


def _averaged(model: Model) -> list[Tensor]:
    """Return the weights that are averaged, evaluated and kept."""
    names = model.inference_modules
    return [weight.detach() for name, weight in model.named_parameters() if name.split(".")[0] in names]
