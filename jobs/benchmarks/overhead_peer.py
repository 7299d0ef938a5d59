"""One library trains one parameter, or two against each other, next to a bare loop of the same step (see overhead.py).

Runs in that library's own environment (see peers.py); its argument is the subject. A question names the number of
phases and of steps; the answer holds the microseconds that this thread computes in a step of the bare loop and of the
library, measured one right after the other, and the averaged weights that each ended with.

A step takes a batch, and for each phase draws noise from a seeded generator, computes the loss, backpropagates, clips
the gradient's norm, sets the learning rate of the schedule and lets fused Adam move the parameter; then it moves the
averaged weights. Every library does all of it, in its own way if it has one, and ends with the weights of the bare
loop. Nothing is logged, evaluated or saved while time is taken.

Ours does more: the noise of each phase has its own seed, so that a resumed run draws the same; gradients are held back
from what a phase does not move; every figure is watched, and a step with one that is not finite is undone; it looks in
each step whether it was asked to stop. And it does less: torch's own functions that clip, take a step of Adam and drop
gradients also call hooks, tell the profiler, and sort by device and type.
"""

# ruff: noqa: PLC0415 - an environment has only one of the libraries

import copy
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from peers import answer
from torch import Tensor, nn, optim
from torch.nn import functional

BATCH_SIZE = 32
WARM_UP = 50  # steps over which the learning rate rises, and before the clock starts
LR, BETAS, CLIP_NORM, COOLDOWN = 2e-3, (0.9, 0.99), 10.0, 0.3
HALF_LIFE = 10_000.0  # of the averaged weights, in images
PHASES = ("first", "second")


class Scale(nn.Module):
    """A network of one parameter."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scale the inputs."""
        return self.weight * inputs


def fitting(outputs: Tensor, noise: Tensor) -> Tensor:
    """Return the loss of each row, if there is one phase."""
    return (outputs - noise).square()


def critic_loss(fake_score: Tensor, real_score: Tensor) -> Tensor:
    """Return the loss of each row in the first of two phases."""
    return functional.softplus(fake_score - real_score)


def generator_loss(fake_score: Tensor) -> Tensor:
    """Return the loss of each row in the second of two phases."""
    return functional.softplus(-fake_score)


def lr_at(step: int, steps: int) -> float:
    """Return the learning rate: up over the warm-up, down over the last steps."""
    return LR * min((step + 1) / WARM_UP, 1.0, (steps - step) / (COOLDOWN * steps))


def kept_at(step: int) -> float:
    """Return what the averaged weights keep of themselves; at first they are the weights."""
    return 0.5 ** (BATCH_SIZE / min(HALF_LIFE, 0.05 * BATCH_SIZE * step)) if step else 0.0


@dataclass
class Batches:
    """The same images again and again, and how long this thread had computed when they were taken."""

    steps: int
    images: Tensor = field(default_factory=lambda: torch.linspace(-1, 1, BATCH_SIZE))
    taken_at: list[float] = field(default_factory=list)

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.steps):
            yield self.take()
        self.take()

    def take(self) -> Tensor:
        """Return the images of the next step."""
        self.taken_at.append(time.thread_time())
        return self.images

    @property
    def microseconds(self) -> float:
        """The mean time of a step after the warm-up."""
        return 1e6 * (self.taken_at[-1] - self.taken_at[WARM_UP]) / (len(self.taken_at) - 1 - WARM_UP)


class Recipe:
    """Networks, optimizers, averages and noise, and what a hand-written loop does with them besides the phases."""

    def __init__(self, num_phases: int, batches: Batches) -> None:
        self.batches = batches
        self.networks = [Scale(0.5 + number) for number in range(num_phases)]
        self.averages = [copy.deepcopy(each).requires_grad_(requires_grad=False) for each in self.networks]
        self.optimizers = [optim.Adam(each.parameters(), betas=BETAS, fused=True) for each in self.networks]
        self.generator = torch.Generator().manual_seed(0)

    def draw(self) -> Tensor:
        """Draw the noise of a phase."""
        return torch.randn(BATCH_SIZE, generator=self.generator)

    def set_lr(self, step: int) -> None:
        """Follow the schedule."""
        lr = lr_at(step, self.batches.steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Move the averaged weights."""
        for average, network in zip(self.averages, self.networks, strict=True):
            average.weight.lerp_(network.weight, 1 - kept_at(step))

    @property
    def weights(self) -> list[float]:
        """The averaged weights."""
        return [float(average.weight) for average in self.averages]


Train = Callable[[Recipe], object]


def by_hand(recipe: Recipe) -> None:
    """Train in a bare loop."""
    if len(recipe.networks) == 1:
        bare_one(recipe)
    else:
        bare_two(recipe)


def bare_one(recipe: Recipe) -> None:
    """Train with one phase."""
    (network,), (optimizer,) = recipe.networks, recipe.optimizers
    for step, images in enumerate(recipe.batches):
        recipe.set_lr(step)
        optimizer.zero_grad()
        fitting(network(images), recipe.draw()).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()
        recipe.average(step)


def bare_two(recipe: Recipe) -> None:
    """Train with two phases."""
    (critic, generator), (critic_optimizer, generator_optimizer) = recipe.networks, recipe.optimizers
    for step, images in enumerate(recipe.batches):
        recipe.set_lr(step)

        critic_optimizer.zero_grad()
        generated = generator(recipe.draw()).detach()
        critic_loss(critic(generated), critic(images)).mean().backward()
        nn.utils.clip_grad_norm_(critic.parameters(), CLIP_NORM)
        critic_optimizer.step()

        generator_optimizer.zero_grad()
        generator_loss(critic(generator(recipe.draw()))).mean().backward()
        nn.utils.clip_grad_norm_(generator.parameters(), CLIP_NORM)
        generator_optimizer.step()
        recipe.average(step)


def rayology(recipe: Recipe) -> None:
    """Train with our loop."""
    import tempfile
    from pathlib import Path

    from rayology.experiment import Experiment, OptimizerConfig, ScheduleConfig
    from rayology.image import Batch, ImageSpec
    from rayology.models import Model, Outcome, Phase
    from rayology.noise import Noise, NoiseSpec
    from rayology.training.gradients import ALONE
    from rayology.training.loop import Training, fit
    from rayology.training.optimizer import Adam
    from rayology.training.stopping import stoppable

    class Scales(Model):
        inference_modules = ("networks",)

        def __init__(self) -> None:
            super().__init__(ImageSpec())
            self.networks = nn.ModuleList(recipe.networks)

        def phases(self) -> tuple[Phase, ...]:
            losses = [self._fitting] if len(self.networks) == 1 else [self._critic, self._generator]
            return tuple(
                Phase(name, tuple(network.parameters()), loss, {"noise": NoiseSpec()}, BETAS[0], (BETAS[1], BETAS[1]))
                for name, network, loss in zip(PHASES, self.networks, losses, strict=False)
            )

        def _fitting(self, batch: Batch, noise: Noise) -> Outcome:
            (network,) = recipe.networks
            return Outcome({"loss": fitting(network(batch.images), noise["noise"])})

        def _critic(self, batch: Batch, noise: Noise) -> Outcome:
            critic, generator = recipe.networks
            with torch.no_grad():
                generated = generator(noise["noise"])
            return Outcome({"loss": critic_loss(critic(generated), critic(batch.images))})

        def _generator(self, _: Batch, noise: Noise) -> Outcome:
            critic, generator = recipe.networks
            return Outcome({"loss": generator_loss(critic(generator(noise["noise"])))})

    steps, model = recipe.batches.steps, Scales()
    optimizers = [Adam(phase.parameters, fused=True) for phase in model.phases()]
    average = copy.deepcopy(model).requires_grad_(requires_grad=False)
    experiment = Experiment(
        schedule=ScheduleConfig(
            steps=steps, log_every=steps, evaluate_every=steps, warmup_steps=WARM_UP, cooldown=COOLDOWN
        ),
        optimizer=OptimizerConfig(lr=LR, clip_norm=CLIP_NORM, ema_images=HALF_LIFE),
    )
    labels = torch.zeros(BATCH_SIZE, dtype=torch.int64)
    with tempfile.TemporaryDirectory() as folder, stoppable(Path(folder), ALONE) as is_asked_to_stop:
        fit(
            experiment,
            Training(model, average, optimizers),
            lambda *_: Batch(recipe.batches.take(), labels),
            log=lambda *_: None,
            evaluate=lambda _: None,
            checkpoint=lambda _: None,
            is_asked_to_stop=is_asked_to_stop,
        )
    recipe.batches.take()  # as an iterator is asked once more than it has batches
    recipe.averages = [each for each in average.networks if isinstance(each, Scale)]


def keyed(recipe: Recipe) -> None:
    """Let a recipe draw the noise that our loop draws."""
    from rayology.noise import NoiseSpec, batch_noise

    steps = iter(range(10**9))

    def draw() -> Tensor:
        step, phase = divmod(next(steps), len(recipe.networks))
        return batch_noise({"noise": NoiseSpec()}, seed=0, purpose=PHASES[phase], step=step, count=BATCH_SIZE)["noise"]

    recipe.draw = draw  # type: ignore[method-assign] # for a comparison of the weights


def fabric(recipe: Recipe) -> None:
    """Train in a bare loop whose networks, optimizers and backward passes are Fabric's."""
    from lightning.fabric import Fabric

    run = Fabric(accelerator="cpu", devices=1)
    wrapped = [run.setup(*pair) for pair in zip(recipe.networks, recipe.optimizers, strict=True)]

    def move(number: int, loss: Tensor) -> None:
        network, optimizer = wrapped[number]
        optimizer.zero_grad()
        run.backward(loss)
        run.clip_gradients(network, optimizer, max_norm=CLIP_NORM, error_if_nonfinite=False)
        optimizer.step()

    wrapped_loop(recipe, [network for network, _ in wrapped], move)


def accelerate(recipe: Recipe) -> None:
    """Train in a bare loop whose networks, optimizers and backward passes are accelerate's."""
    from accelerate import Accelerator

    run = Accelerator(cpu=True)
    wrapped = [run.prepare(*pair) for pair in zip(recipe.networks, recipe.optimizers, strict=True)]

    def move(number: int, loss: Tensor) -> None:
        network, optimizer = wrapped[number]
        optimizer.zero_grad()
        run.backward(loss)
        run.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()

    wrapped_loop(recipe, [network for network, _ in wrapped], move)


def wrapped_loop(recipe: Recipe, networks: Sequence[nn.Module], move: Callable[[int, Tensor], None]) -> None:
    """Train in a loop around networks that a library wrapped, with its way to move one by a loss."""
    for step, images in enumerate(recipe.batches):
        recipe.set_lr(step)
        if len(networks) == 1:
            move(0, fitting(networks[0](images), recipe.draw()).mean())
        else:
            critic, generator = networks
            generated = generator(recipe.draw()).detach()
            move(0, critic_loss(critic(generated), critic(images)).mean())
            move(1, generator_loss(critic(generator(recipe.draw()))).mean())
        recipe.average(step)


def lightning(recipe: Recipe) -> None:
    """Train with Lightning's Trainer without what it can leave out; automatic optimization if there is one phase."""
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):  # type: ignore[misc] # not installed where types are checked
        def __init__(self) -> None:
            super().__init__()
            self.networks = nn.ModuleList(recipe.networks)
            self.automatic_optimization = len(recipe.networks) == 1

        def configure_optimizers(self) -> Sequence[optim.Optimizer]:
            return recipe.optimizers

        def on_train_batch_start(self, _: Tensor, step: int) -> None:
            recipe.set_lr(step)

        def training_step(self, images: Tensor, _: int) -> Tensor | None:
            if self.automatic_optimization:
                return fitting(self.networks[0](images), recipe.draw()).mean()
            critic, generator = self.networks
            of_critic, of_generator = self.optimizers()
            generated = generator(recipe.draw()).detach()
            self.move(of_critic, critic_loss(critic(generated), critic(images)).mean())
            self.move(of_generator, generator_loss(critic(generator(recipe.draw()))).mean())
            return None

        def move(self, optimizer: optim.Optimizer, loss: Tensor) -> None:
            optimizer.zero_grad()
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=CLIP_NORM, gradient_clip_algorithm="norm")
            optimizer.step()

        def on_train_batch_end(self, _: object, __: Tensor, step: int) -> None:
            recipe.average(step)

    module = Module()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        barebones=True,
        gradient_clip_val=CLIP_NORM if module.automatic_optimization else None,
    )
    trainer.fit(module, recipe.batches)


def monai(recipe: Recipe) -> None:
    """Train with MONAI's SupervisedTrainer, or its GanTrainer; clipping is a hook of the optimizers."""
    from ignite.engine import Events
    from monai.engines import GanTrainer, SupervisedTrainer
    from torch.utils.data import DataLoader, TensorDataset

    class Loader(DataLoader[tuple[Tensor, ...]]):
        """Hands out the batches; the trainer wants its type."""

        def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override] # fewer methods
            return iter(recipe.batches)

    for network, optimizer in zip(recipe.networks, recipe.optimizers, strict=True):

        def clip(*_: object, network: nn.Module = network) -> None:
            nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)

        optimizer.register_step_pre_hook(clip)
    common = {
        "device": torch.device("cpu"),
        "max_epochs": 1,
        "train_data_loader": Loader(TensorDataset(recipe.batches.images), batch_size=BATCH_SIZE),
        "epoch_length": recipe.batches.steps,
        "decollate": False,
        "optim_set_to_none": True,
    }
    if len(recipe.networks) == 1:
        trainer = SupervisedTrainer(
            **common,
            network=recipe.networks[0],
            optimizer=recipe.optimizers[0],
            loss_function=fitting,
            prepare_batch=lambda images, *_: (images, recipe.draw()),
        )
    else:
        critic, generator = recipe.networks
        trainer = GanTrainer(
            **common,
            d_network=critic,
            d_optimizer=recipe.optimizers[0],
            d_loss_function=lambda made, images: critic_loss(critic(made.detach()), critic(images)).mean(),
            g_network=generator,
            g_optimizer=recipe.optimizers[1],
            g_loss_function=lambda made: generator_loss(critic(made)).mean(),
            d_prepare_batch=lambda images, *_: images,
            g_prepare_batch=lambda **_: recipe.draw(),
        )
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: recipe.set_lr(engine.state.iteration - 1))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: recipe.average(engine.state.iteration - 1))
    trainer.run()


def main() -> None:
    """Answer questions."""
    (subject,) = sys.argv[1:]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for library in ("lightning.pytorch", "lightning.fabric", "ignite"):
        logging.getLogger(library).setLevel(logging.ERROR)

    def figures(question: Mapping[str, object]) -> Mapping[str, object]:
        num_phases, steps = int(str(question["phases"])), int(str(question["steps"]))
        found: dict[str, object] = {}
        for name, train in (("bare", by_hand), ("own", SUBJECTS[subject])):
            recipe = Recipe(num_phases, Batches(steps))
            if name == "bare" and question["same_noise"] and subject == "rayology":
                keyed(recipe)
            train(recipe)
            found |= {name: recipe.batches.microseconds, f"{name}_weights": recipe.weights}
        return found

    answer(figures)


SUBJECTS: Mapping[str, Train] = {
    "rayology": rayology,
    "Fabric": fabric,
    "MONAI engines": monai,
    "accelerate": accelerate,
    "Lightning": lightning,
}

if __name__ == "__main__":
    main()
