"""The recipe: a training step is the model's phases in order; there is no Ray in it."""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn, optim

from rayology.errors import Diverged
from rayology.experiment import Experiment, ScheduleConfig
from rayology.image import Batch, ImageSpec
from rayology.models import Draws, Model, Phase
from rayology.primitives import PRIMITIVES
from rayology.training import precision
from rayology.training.ema import decay, update_average
from rayology.training.gradients import ALONE, Workers, only_trainable
from rayology.training.schedule import lr_factor

__all__ = ["Batches", "Training", "fit", "keyed"]

Batches = Callable[[int, slice], Batch]
"""Maps a step and rows of its global batch to those images, which are good until the next step."""


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
            torch.manual_seed(keyed(experiment.seed, "weights"))
            model = experiment.model.build(image)
        model.to(device, precision.dtype_of(precision.resolve(experiment.scaling, device)))
        for weight in model.parameters():
            # A convolution is 1.3 to 1.8 times faster so, on CPU and GPU; of volumes 1.1 to 1.3 times, on a CPU.
            if primitives := PRIMITIVES.get(weight.ndim - 2):
                weight.data = weight.data.contiguous(memory_format=primitives.channels_last)
        average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        optimizers = [optim.Adam(phase.parameters, betas=phase.betas, fused=True) for phase in model.phases()]
        return cls(model, average, optimizers)


def fit(
    experiment: Experiment,
    training: Training,
    batches: Batches,
    *,
    log: Callable[[int, Mapping[str, float]], None],
    evaluate: Callable[[Training], None],
    workers: Workers = ALONE,
) -> None:
    """Train in place from ``training.step`` to the last step.

    Every process calls ``log``, with figures of the whole batch, and ``evaluate`` at the same steps.

    Raises:
        Diverged: a loss is no longer finite; every process raises it at the same step.
    """
    schedule, model = experiment.schedule, training.model
    phases = model.phases()
    rows = workers.microbatches(schedule.batch_size, experiment.microbatches)

    while training.step < schedule.steps:
        step = training.step
        pieces = [batches(step, own) for own in rows]
        figures: dict[str, Tensor] = {}

        for phase, optimizer in zip(phases, training.optimizers, strict=True):
            draws = _draws(experiment, phase, step, noise_size=model.noise_size)
            only_trainable(model, phase.parameters)
            figures |= _accumulate(experiment, phase, pieces, [draws[own] for own in rows], workers)
            figures[f"{phase.name}/gradient_norm"] = nn.utils.clip_grad_norm_(
                phase.parameters, experiment.optimizer.clip_norm
            )
            for group in optimizer.param_groups:
                group["lr"] = experiment.optimizer.lr * lr_factor(step, schedule)
            optimizer.step()
            optimizer.zero_grad()

        kept = decay(step * schedule.batch_size, schedule.batch_size, half_life=experiment.optimizer.ema_images)
        update_average(_served(training.average), _served(model), kept=kept)
        model.adapt(figures, num_images=schedule.batch_size)
        training.step += 1

        is_logged = _is_due(training.step, schedule.log_every, schedule)
        is_evaluated = _is_due(training.step, schedule.evaluate_every, schedule)
        if is_logged or is_evaluated:
            finite = _finite(figures, step)
        if is_logged:
            log(training.step, finite)
        if is_evaluated:
            evaluate(training)


def keyed(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose, so that no draw depends on what was drawn before it."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _is_due(step: int, every: int, schedule: ScheduleConfig) -> bool:
    return step % every == 0 or step == schedule.steps


def _draws(experiment: Experiment, phase: Phase, step: int, *, noise_size: int) -> Draws:
    """Draw for a whole global batch, whichever part of it this process needs."""
    generator = torch.Generator().manual_seed(keyed(experiment.seed, phase.name, step))
    count = experiment.schedule.batch_size
    noise = torch.randn(count, noise_size, generator=generator)
    return Draws(noise, torch.rand(count, phase.num_draws, generator=generator, dtype=torch.float64))


def _accumulate(
    experiment: Experiment, phase: Phase, pieces: Sequence[Batch], draws: Sequence[Draws], workers: Workers
) -> dict[str, Tensor]:
    """Add up the gradients of the global mean over microbatches and processes; return the mean of each term."""
    figures: dict[str, Tensor] = {}
    for batch, drawn in zip(pieces, draws, strict=True):
        device = batch.images.device
        with precision.autocast(precision.resolve(experiment.scaling, device), device):
            terms = phase.terms(batch, replace(drawn, noise=drawn.noise.to(batch.images)))
        means = {name: term.sum() / experiment.schedule.batch_size for name, term in terms.items()}
        torch.stack(list(means.values())).sum().backward(inputs=phase.parameters)
        for name, mean in means.items():
            path = f"{phase.name}/{name}"
            figures[path] = figures[path] + mean.detach() if path in figures else mean.detach()
    gradients = [parameter.grad for parameter in phase.parameters if parameter.grad is not None]
    workers.sum([*gradients, *figures.values()])
    return figures


def _served(model: Model) -> list[nn.Parameter]:
    return [weight for name, weight in model.named_parameters() if name.split(".")[0] in model.served]


def _finite(figures: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """Return the figures as numbers, in one copy from the device, or raise; they are the same on every process."""
    stacked = torch.stack([figure.double() for figure in figures.values()])
    values = dict(zip(figures, stacked.tolist(), strict=True))
    for name, value in values.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at step {step}; lower optimizer.lr, or raise the model's penalty")
    return values
