"""Laws of the recipe: the same seed gives the same result, however the work is cut."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.utils._python_dispatch import TorchDispatchMode

from rayology.errors import ConfigError, Diverged, TrainingError
from rayology.experiment import Experiment, OptimizerConfig, ScalingConfig, ScheduleConfig
from rayology.image import Batch, ImageSpec
from rayology.models import GanConfig, Generates, Model, Outcome, Phase, VaeConfig
from rayology.models.adaptive import AdaptiveConfig
from rayology.models.backbones import ResNetConfig
from rayology.noise import Noise, batch_noise, indexed_noise
from rayology.training import checkpoint
from rayology.training.gradients import ALONE, Workers, only_trainable
from rayology.training.loop import Batches, Training, fit

SPEC = ImageSpec(size=(16, 16), classes=("a", "b"))
SMALL = ResNetConfig(width=8)
EAGER = AdaptiveConfig(rotate=0.8, intensity=0.8, noise=0.8, target=-0.1, ramp_images=64)
MODELS = [VaeConfig(backbone=SMALL), GanConfig(backbone=SMALL), GanConfig(backbone=SMALL, adaptive=EAGER)]
EIGHT = Experiment(
    model=GanConfig(backbone=SMALL, adaptive=AdaptiveConfig(translate=0.8, ramp_images=80)),
    schedule=ScheduleConfig(steps=12, batch_size=8, warmup_steps=2, log_every=1),
    scaling=ScalingConfig(precision="float64"),
)
CPU = torch.device("cpu")
VOLUMES = ImageSpec(size=(16, 16, 16), classes=("a", "b"))


@pytest.fixture(params=MODELS, ids=["vae", "gan", "gan-adaptive"])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return Experiment(
        model=request.param,
        schedule=ScheduleConfig(
            steps=6, batch_size=8, warmup_steps=2, evaluate_every=3, checkpoint_every=3, log_every=2
        ),
        scaling=ScalingConfig(precision="float64"),
    )


@pytest.fixture(params=[SPEC, pytest.param(VOLUMES, marks=pytest.mark.slow)], ids=["images", "volumes"])
def spec(request: pytest.FixtureRequest) -> ImageSpec:
    spec: ImageSpec = request.param
    return spec


def images_of(spec: ImageSpec) -> Tensor:
    return torch.rand(40, *spec.shape, generator=torch.Generator().manual_seed(0)).double() * 2 - 1


def batches_of(spec: ImageSpec) -> Batches:
    images = images_of(spec)

    def draw(step: int, rows: slice) -> Batch:
        chosen = (torch.arange(8) + 8 * step)[rows] % len(images)
        return Batch(images[chosen], chosen % 2)

    return draw


IMAGES, batches = images_of(SPEC), batches_of(SPEC)


def ignore(*_: object) -> None:
    """Take what is reported and drop it."""


def trained(experiment: Experiment, workers: Workers = ALONE, *, spec: ImageSpec = SPEC) -> Training:
    training = Training.start(experiment, spec, CPU)
    fit(experiment, training, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=ignore, workers=workers)
    return training


def assert_same(training: Training, other: Training, *, tolerance: float = 0.0) -> None:
    for mine, others in ((training.model, other.model), (training.average, other.average)):
        for name, weight in mine.state_dict().items():
            torch.testing.assert_close(weight, others.state_dict()[name], rtol=tolerance, atol=tolerance, msg=name)


def test_the_same_seed_trains_to_the_same_bits(experiment: Experiment, spec: ImageSpec) -> None:
    assert_same(trained(experiment, spec=spec), trained(experiment, spec=spec))


def test_another_seed_trains_to_other_weights(experiment: Experiment) -> None:
    with pytest.raises(AssertionError):
        assert_same(trained(experiment), trained(experiment.patched({"seed": 1})))


def test_a_training_resumed_from_a_checkpoint_ends_with_the_same_bits(
    experiment: Experiment, spec: ImageSpec, tmp_path: Path
) -> None:
    def keep_halfway(training: Training) -> None:
        if training.step == 3:
            checkpoint.save(training, tmp_path)

    whole = Training.start(experiment, spec, CPU)
    fit(experiment, whole, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=keep_halfway)
    resumed = Training.start(experiment.patched({"seed": 5}), spec, CPU)

    checkpoint.restore(resumed, tmp_path)
    fit(experiment, resumed, batches_of(spec), log=ignore, evaluate=ignore, checkpoint=ignore)

    assert resumed.step == whole.step == 6
    assert_same(resumed, whole)


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [2, 4])
def test_microbatches_change_nothing_but_rounding(experiment: Experiment, spec: ImageSpec, pieces: int) -> None:
    cut = experiment.patched({"scaling": {"microbatches": pieces}})

    assert_same(trained(cut, spec=spec), trained(experiment, spec=spec), tolerance=1e-9)


@pytest.mark.slow
def test_two_workers_train_to_what_one_does(experiment: Experiment, tmp_path: Path) -> None:
    alone = trained(experiment.patched({"scaling": {"microbatches": 2}}))

    start_processes(_train_as_one_of_two, (experiment.model_dump_json(), str(tmp_path)), nprocs=2)

    for rank in range(2):
        together = Training.start(experiment, SPEC, CPU)
        checkpoint.restore(together, tmp_path / str(rank))
        assert_same(together, alone, tolerance=1e-9)


def test_the_log_names_each_phases_terms_and_every_process_evaluates(experiment: Experiment) -> None:
    logged: dict[int, Mapping[str, float]] = {}
    evaluated: list[int] = []
    kept: list[int] = []
    training = Training.start(experiment, SPEC, CPU)

    fit(
        experiment.patched({"schedule": {"checkpoint_every": 5}}),
        training,
        batches,
        log=logged.__setitem__,
        evaluate=lambda at: evaluated.append(at.step),
        checkpoint=lambda at: kept.append(at.step),
    )

    assert list(logged) == [2, 4, 6]
    assert evaluated == [3, 6]
    assert kept == [5, 6]
    names = {"vae": {"vae/distortion", "vae/rate", "vae/gradient_norm"}}
    names["gan"] = {f"critic/{term}" for term in ("pairing", "real_penalty", "fake_penalty", "gradient_norm")}
    names["gan"] |= {"generator/pairing", "generator/gradient_norm"}
    if experiment.model == MODELS[2]:
        names["gan"] |= {"critic/told_apart", "critic/strength"}
    assert set(logged[6]) == names[experiment.model.kind] | {"lr"}


def test_the_strength_rises_where_the_critic_learns_its_real_images_by_heart() -> None:
    strengths = _strengths(EIGHT, lambda _, rows: batches(0, rows))

    assert strengths[0] == 0.0
    assert max(strengths) >= 0.5


def test_the_strength_stays_at_0_where_the_real_images_are_the_generators_own() -> None:
    still = EIGHT.patched({"optimizer": {"lr": 1e-12}, "schedule": {"batch_size": 32}})
    model = Training.start(still, SPEC, CPU).model
    assert isinstance(model, Generates)

    def own(step: int, rows: slice) -> Batch:
        noise = indexed_noise(model.sample_noise(), seed=step, indices=range(32))
        labels = torch.arange(32) % 2
        return Batch(model.sample({"latent": noise["latent"].double()}, labels).detach(), labels)[rows]

    assert set(_strengths(still, own)) == {0.0}


def test_training_lowers_the_loss_of_a_vae(spec: ImageSpec) -> None:
    experiment = Experiment(model=MODELS[0], schedule=ScheduleConfig(steps=60, batch_size=8, log_every=1, cooldown=0))
    losses: list[float] = []

    def log(_: int, figures: Mapping[str, float]) -> None:
        losses.append(figures["vae/distortion"] + figures["vae/rate"])

    experiment, draw = experiment.patched({"scaling": {"precision": "float32"}}), batches_of(spec)
    fit(
        experiment,
        Training.start(experiment, spec, CPU),
        lambda step, rows: Batch(draw(step, rows).images.float(), draw(step, rows).labels),
        log=log,
        evaluate=ignore,
        checkpoint=ignore,
    )

    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_losses_stay_in_full_precision_when_the_networks_run_in_bf16(experiment: Experiment) -> None:
    experiment = experiment.patched({"scaling": {"precision": "bf16"}})
    logged: dict[int, Mapping[str, float]] = {}
    training = Training.start(experiment, SPEC, CPU)
    batch = Batch(IMAGES[:8].float(), torch.arange(8) % 2)

    fit(experiment, training, lambda *_: batch, log=logged.__setitem__, evaluate=ignore, checkpoint=ignore)

    assert all(math.isfinite(figure) for figures in logged.values() for figure in figures.values())
    with torch.autocast("cpu", torch.bfloat16):
        for phase in training.model.phases():
            only_trainable(training.model, phase.parameters)
            noise = batch_noise(phase.noise, seed=0, purpose=phase.name, step=0, count=8)
            terms = phase.terms(batch, noise).terms
            assert {term.dtype for term in terms.values()} == {torch.float32}


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


@pytest.mark.parametrize("model", MODELS[:2], ids=["vae", "gan"])
def test_no_step_makes_the_host_wait(model: VaeConfig | GanConfig) -> None:
    """Adaptive augmentation, which looks at its own strength, is left out, and so are labels: one_hot reads them."""
    experiment = Experiment(
        model=model.patched({"conditional": False}),
        schedule=ScheduleConfig(batch_size=8, log_every=100, evaluate_every=100, checkpoint_every=100),
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

    fit(experiment, training, batches, log=logged.__setitem__, evaluate=ignore, checkpoint=ignore)

    assert isinstance(training.model, EveryThird)
    assert [step for step, figures in logged.items() if "seldom/term" in figures] == [1, 4]
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


def test_the_gradient_is_clipped_to_the_norm(experiment: Experiment) -> None:
    """With Adam's step of about lr a weight, what is clipped is seen only through the norm that is logged before."""
    free = trained(experiment)
    clipped = trained(experiment.patched({"optimizer": OptimizerConfig(clip_norm=1e-9).model_dump()}))

    with pytest.raises(AssertionError):
        assert_same(free, clipped)


def test_a_checkpoint_of_another_model_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    checkpoint.save(Training.start(experiment, SPEC, CPU), tmp_path)
    other = Training.start(experiment.patched({"model": {"latents": 128}}), SPEC, CPU)

    with pytest.raises(TrainingError, match="no checkpoint of this experiment's model"):
        checkpoint.restore(other, tmp_path)


def test_a_folder_without_a_checkpoint_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint"):
        checkpoint.restore(Training.start(experiment, SPEC, CPU), tmp_path)


def test_the_microbatches_of_all_workers_are_the_batch_and_each_row_comes_once() -> None:
    for pieces in range(1, 17):
        for count in range(1, pieces + 1):
            dealt = [Workers(rank, count).microbatches(3 * pieces, pieces) for rank in range(count)]

            assert [row for own in dealt for piece in own for row in range(3 * pieces)[piece]] == [*range(3 * pieces)]
            assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def _strengths(experiment: Experiment, batches: Batches) -> list[float]:
    """Train, and return the strength at each step."""
    strengths: list[float] = []
    fit(
        experiment,
        Training.start(experiment, SPEC, CPU),
        batches,
        log=lambda _, figures: strengths.append(figures["critic/strength"]),
        evaluate=ignore,
        checkpoint=ignore,
    )
    return strengths


def _train_as_one_of_two(rank: int, experiment: str, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    two = Experiment.model_validate_json(experiment).patched({"scaling": {"num_workers": 2}})
    checkpoint.save(trained(two, Workers(rank, 2)), Path(folder) / str(rank))
    distributed.destroy_process_group()
