"""What is not finite moves nothing, is found before anything is kept, and costs no wait."""

from collections.abc import Callable, Mapping

import pytest
import torch
from tests.kinds import SMALL_MODELS, name_of
from tests.training.recipes import CPU, SPEC, batches, ignore
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rayology.errors import Diverged
from rayology.experiment import Experiment, ScalingConfig, ScheduleConfig
from rayology.image import Batch
from rayology.models import Model, ModelConfig, Outcome, Phase, VaeConfig
from rayology.training.finite import KEPT, FiniteGuard
from rayology.training.loop import Training, fit


def test_what_is_not_finite_is_found_before_it_is_evaluated(experiment: Experiment) -> None:
    experiment = experiment.patched({"schedule": {"log_every": 100, "evaluate_every": 4}})
    evaluated: list[int] = []

    def broken(step: int, rows: slice) -> Batch:
        return Batch(batches(step, rows).images * torch.nan, batches(step, rows).labels)

    with pytest.raises(Diverged):
        fit(
            experiment,
            Training.start(experiment, SPEC, CPU),
            broken,
            log=ignore,
            evaluate=lambda training: evaluated.append(training.step),
            checkpoint=lambda training: evaluated.append(training.step),
        )

    assert not evaluated


def test_a_loss_that_is_not_finite_ends_the_training_and_says_what_to_lower(experiment: Experiment) -> None:
    def broken(step: int, rows: slice) -> Batch:
        batch = batches(step, rows)
        return Batch(batch.images * torch.nan, batch.labels) if step == 3 else batch

    training = Training.start(experiment, SPEC, CPU)

    with pytest.raises(Diverged, match=r"is nan at step 3; lower optimizer.lr"):
        fit(experiment, training, broken, log=ignore, evaluate=ignore, checkpoint=ignore)


@pytest.mark.parametrize("broken_at", [3, 4])
def test_a_step_that_is_not_finite_leaves_all_as_it_was_and_is_found_before_anything_is_kept(
    experiment: Experiment, broken_at: int
) -> None:
    experiment = experiment.patched({"schedule": {"steps": 12, "log_every": 100, "evaluate_every": 6}})
    before: dict[str, Tensor] = {}

    def broken(step: int, rows: slice) -> Batch:
        batch = batches(step, rows)
        if step == broken_at:
            before.update(state_of(training))
        return Batch(batch.images * torch.nan, batch.labels) if step == broken_at else batch

    def refuse(training: Training) -> None:
        raise AssertionError(training.step)

    for every, found_by in ((5, "a checkpoint"), (6, "an evaluation")):
        training = Training.start(experiment, SPEC, CPU)
        asked = experiment.patched({"schedule": {"checkpoint_every": every}})
        with pytest.raises(Diverged, match=f"is nan at step {broken_at}; lower optimizer.lr"):
            fit(asked, training, broken, log=ignore, evaluate=refuse, checkpoint=refuse)

        assert training.step == every, found_by
        for name, tensor in state_of(training).items():
            assert torch.equal(tensor, before[name]), name


class Breaks(Model):
    """Two phases, of which one has a term or a sum that is not finite at some step; each moves all that it can."""

    inference_modules = ("first", "second")
    steps: Tensor

    def __init__(self, *, breaks: str, at: int) -> None:
        super().__init__(SPEC)
        self.first, self.second = (nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(2))
        self.register_buffer("steps", torch.zeros(()))
        self.breaks, self.at = breaks, at

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("first", (self.first,), lambda batch, _: self._outcome(self.first, batch, "first")),
            Phase("second", (self.second,), lambda batch, _: self._outcome(self.second, batch, "second")),
        )

    def after_step(self, sums: Mapping[str, Tensor]) -> None:
        self.steps += sums["first/rows"] / sums["second/rows"]

    def _outcome(self, parameter: nn.Parameter, batch: Batch, phase: str) -> Outcome:
        term, rows = parameter.expand(len(batch)), torch.tensor(float(len(batch)))
        if self.steps == self.at:
            term = term * torch.nan if self.breaks == f"{phase}/term" else term
            rows = rows * torch.nan if self.breaks == f"{phase}/rows" else rows
        return Outcome({"term": term}, {"rows": rows})


@pytest.mark.parametrize("breaks", ["first/term", "first/rows", "second/term", "second/rows"])
def test_whichever_phase_and_figure_breaks_the_whole_step_is_undone(
    breaks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = Experiment(
        schedule=ScheduleConfig(steps=9, batch_size=8, warmup_steps=0, log_every=9, evaluate_every=9),
        scaling=ScalingConfig(precision="float64"),
    )
    monkeypatch.setattr(VaeConfig, "build", lambda *_: Breaks(breaks=breaks, at=4))  # a real model, in place of another
    training = Training.start(experiment, SPEC, CPU)
    before: dict[str, Tensor] = {}

    def watched(step: int, rows: slice) -> Batch:
        if step == 4:
            before.update(state_of(training))
        return batches(step, rows)

    with pytest.raises(Diverged, match=f"{breaks}.* is nan at step 4; lower optimizer.lr"):
        fit(experiment, training, watched, log=ignore, evaluate=ignore, checkpoint=ignore)

    assert training.step == 9
    assert {"model.steps", "model.first", "0.0.exp_avg", "1.0.exp_avg_sq"} <= before.keys()
    for name, tensor in state_of(training).items():
        assert torch.equal(tensor, before[name]), name


def test_the_first_that_is_not_finite_is_named_however_long_nobody_read() -> None:
    guard = FiniteGuard(CPU)
    for step in range(2 * KEPT):
        value = torch.nan if step == KEPT + 2 else torch.inf if step > KEPT + 2 else 1.0
        guard.watch({"first": torch.tensor(1.0), "second": torch.tensor(value)}, step=step)

    with pytest.raises(Diverged, match=f"second is nan at step {KEPT + 2}; lower optimizer.lr"):
        guard.read({})


def state_of(training: Training) -> dict[str, Tensor]:
    """Copy weights, moments, buffers and averages."""
    state = {f"model.{name}": tensor for name, tensor in training.model.state_dict().items()}
    state |= {f"average.{name}": tensor for name, tensor in training.average.state_dict().items()}
    for number, optimizer in enumerate(training.optimizers):
        for parameter, moments in optimizer.state_dict()["state"].items():
            state |= {f"{number}.{parameter}.{name}": tensor for name, tensor in moments.items()}
    return {name: tensor.clone() for name, tensor in state.items()}


class Reads(TorchDispatchMode):
    """Counts how often the host waits for a number of the device."""

    count = 0

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        self.count += str(operation) == "aten._local_scalar_dense.default"
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", SMALL_MODELS, ids=name_of)
def test_no_step_makes_the_host_wait(model: ModelConfig) -> None:
    """Adaptive augmentation, which looks at its own strength, is left out, and so are labels: one_hot reads them."""
    experiment = Experiment(
        model=model.patched({"conditional": False}),
        schedule=ScheduleConfig(batch_size=8, log_every=100, evaluate_every=100),
        scaling=ScalingConfig(precision="float64"),
    )
    counts = []

    for steps in (2, 9):
        training = Training.start(experiment.patched({"schedule": {"steps": steps}}), SPEC, CPU)
        with Reads() as reads:  # type: ignore[no-untyped-call] # torch's own
            fit(
                experiment.patched({"schedule": {"steps": steps}}),
                training,
                batches,
                log=ignore,
                evaluate=ignore,
                checkpoint=ignore,
            )
        counts.append(reads.count)

    assert counts[0] == counts[1]
