"""What a phase may say of itself: how often it takes part, at which rate, and on packs of images."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from tests.training.recipes import CPU, MODELS, SPEC, batches, ignore, into
from torch import nn

from rayology.errors import ConfigError
from rayology.experiment import Experiment, OptimizerConfig, ScalingConfig, ScheduleConfig
from rayology.image import Batch
from rayology.models import Model, Outcome, Phase, VaeConfig
from rayology.noise import Noise
from rayology.training.loop import Training, fit


class EveryThird(Model):
    """A parameter that moves in every step, and one that moves in every third, half as fast."""

    inference_modules = ("often", "seldom")

    def __init__(self) -> None:
        super().__init__(SPEC)
        self.often, self.seldom = (nn.Parameter(torch.zeros(())) for _ in range(2))
        self.seen: list[tuple[str, int]] = []

    def phases(self) -> tuple[Phase, ...]:
        def terms(parameter: nn.Parameter) -> Callable[[Batch, Noise], Outcome]:
            return lambda batch, _: Outcome({"term": parameter.expand(len(batch))})

        return (
            Phase("often", (self.often,), terms(self.often)),
            Phase("seldom", (self.seldom,), terms(self.seldom), lr=0.5, every=3),
        )


def test_a_phase_takes_part_in_every_so_many_steps_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(
        schedule=ScheduleConfig(steps=6, batch_size=8, warmup_steps=0, cooldown=0, log_every=1),
        scaling=ScalingConfig(precision="float64"),
        optimizer=OptimizerConfig(lr=0.25),
    )
    monkeypatch.setattr(VaeConfig, "build", lambda *_: EveryThird())  # a real model, in the place of another
    logged: dict[int, Mapping[str, float]] = {}
    training = Training.start(experiment, SPEC, CPU)

    fit(
        experiment,
        training,
        batches,
        log=into(logged),
        evaluate=ignore,
        checkpoint=ignore,
    )

    assert isinstance(training.model, EveryThird)
    assert all("seldom/term" in figures for figures in logged.values()), "a line holds the newest figures of each phase"
    # Adam moves by the learning rate where the gradient stays the same.
    assert training.model.often.item() == pytest.approx(-6 * 0.25)
    assert training.model.seldom.item() == pytest.approx(-2 * 0.25 * 0.5)
    assert all(figures["lr"] == 0.25 for figures in logged.values())


def test_a_term_a_pack_counts_as_the_mean_over_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one value for two images, the gradient is that of the mean over four packs."""
    monkeypatch.setattr(VaeConfig, "pack", 2)  # a real model, asked for packs
    experiment = Experiment(
        model=MODELS[0],
        schedule=ScheduleConfig(steps=1, batch_size=8, log_every=1),
        scaling=ScalingConfig(precision="float64", microbatches=2),
    )
    training = Training.start(experiment, SPEC, CPU)
    phases = training.model.phases()

    def of_pairs(batch: Batch, noise: Noise) -> Outcome:
        terms = phases[0].terms(batch, noise).terms
        return Outcome({name: term.unflatten(0, (-1, 2)).mean(1) for name, term in terms.items()})

    logged: list[Mapping[str, float]] = []
    for terms, pack in ((of_pairs, 2), (phases[0].terms, 1)):
        monkeypatch.setattr(VaeConfig, "pack", pack)
        monkeypatch.setattr(training.model, "phases", lambda terms=terms: (replace(phases[0], terms=terms),))
        training.step = 0
        before = copy.deepcopy(training.model.state_dict())
        fit(experiment, training, batches, log=lambda _, seen: logged.append(seen), evaluate=ignore, checkpoint=ignore)
        training.model.load_state_dict(before)

    assert logged[0] == pytest.approx(logged[1])


def test_pieces_are_whole_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(schedule=ScheduleConfig(batch_size=32))
    monkeypatch.setattr(VaeConfig, "pack", 3)  # a real model, asked for packs

    with pytest.raises(ConfigError, match="must be a multiple of 6, the microbatches of packs of 3"):
        experiment.patched({"scaling": {"microbatches": 2}})
