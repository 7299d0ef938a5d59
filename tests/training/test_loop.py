"""Laws of the recipe: the same seed gives the same result, however the work is cut."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tests.kinds import name_of
from tests.training.recipes import (
    ADAPTIVE,
    CODER,
    CPU,
    IMAGES,
    MODELS,
    SMALL,
    SPEC,
    VOLUMES,
    assert_same,
    batches,
    batches_of,
    experiment_of,
    ignore,
    into,
    keep,
    resume,
    trained,
    trained_before,
)
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes

from rayology.experiment import Experiment, OptimizerConfig, ScheduleConfig
from rayology.image import Batch, ImageSpec
from rayology.models import GanConfig, ModelConfig, VaeConfig
from rayology.noise import batch_noise, placed
from rayology.training.gradients import Workers, only_trainable
from rayology.training.loop import Training, fit


def test_another_seed_trains_to_other_weights() -> None:
    experiment = experiment_of(CODER)

    with pytest.raises(AssertionError):
        assert_same(trained_before(experiment), trained(experiment.patched({"seed": 1})))


@pytest.mark.slow
def test_four_microbatches_change_nothing_but_rounding(case: tuple[Experiment, ImageSpec]) -> None:
    experiment, spec = case[0].patched({"schedule": {"steps": 3}}), case[1]

    cut = experiment.patched({"scaling": {"microbatches": 4}})

    assert_same(trained(cut, spec=spec), trained_before(experiment, spec=spec), tolerance=1e-9)


@pytest.mark.slow
def test_workers_with_uneven_shares_train_to_what_one_does(tmp_path: Path) -> None:
    """Of four pieces, three workers take two, one and one."""
    start_processes(_train_as_one_of_three, (str(tmp_path),), nprocs=3, start_method="forkserver")

    for index, model in enumerate(MODELS):
        experiment = experiment_of(model)
        alone = trained_before(experiment)
        for rank in range(3):
            together = Training.start(experiment, SPEC, CPU)
            resume(together, tmp_path / f"{index}-{rank}")
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
        log=into(logged),
        evaluate=lambda at: evaluated.append(at.step),
        checkpoint=lambda at: kept.append(at.step),
    )

    assert list(logged) == [2, 4, 6]
    assert evaluated == [3, 6]
    assert kept == [5, 6]
    is_elbo = isinstance(experiment.model, VaeConfig) and experiment.model.objective.kind == "elbo"
    names = {"vae": {"vae/gradient_norm", *(("vae/distortion", "vae/rate") if is_elbo else ("vae/bound",))}}
    names["gan"] = {f"{phase}/{term}" for phase in ("critic", "generator") for term in ("adversarial", "gradient_norm")}
    if isinstance(experiment.model, GanConfig):
        penalties = {
            "zero_centred": ("real_penalty", "fake_penalty"),
            "interpolated": ("gradient_penalty",),
            "none": (),
        }
        names["gan"] |= {f"critic/{term}" for term in penalties[experiment.model.regulariser.kind]}
    if experiment.model == ADAPTIVE:
        names["gan"] |= {"critic/ada_rt", "critic/strength"}
    assert set(logged[6]) == names[experiment.model.kind] | {"lr"}


@pytest.mark.parametrize("spec", [SPEC, VOLUMES], ids=["images", "volumes"])
def test_training_lowers_the_loss_of_a_vae(spec: ImageSpec) -> None:
    schedule = ScheduleConfig(steps=60, batch_size=8, log_every=1, cooldown=0)
    experiment = Experiment(model=VaeConfig(encoder=SMALL, decoder=SMALL), schedule=schedule)
    losses: list[float] = []

    def log(_: Training, figures: Mapping[str, float]) -> None:
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

    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.5  # nats a pixel


def test_losses_stay_in_full_precision_when_the_networks_run_in_bf16(experiment: Experiment) -> None:
    experiment = experiment.patched({"scaling": {"precision": "bf16"}})
    logged: dict[int, Mapping[str, float]] = {}
    training = Training.start(experiment, SPEC, CPU)
    batch = Batch(IMAGES[:8].float(), torch.arange(8) % 2)

    fit(
        experiment,
        training,
        lambda *_: batch,
        log=into(logged),
        evaluate=ignore,
        checkpoint=ignore,
    )

    assert all(math.isfinite(figure) for figures in logged.values() for figure in figures.values())
    with torch.autocast("cpu", torch.bfloat16):
        for phase in training.model.phases():
            only_trainable(training.model.parameters(), phase.parameters)
            noise = batch_noise(phase.noise, seed=0, purpose=phase.name, step=0, count=8)
            terms = phase.terms(batch, noise).terms
            assert {term.dtype for term in terms.values()} == {torch.float32}


def test_every_convolution_runs_channels_last(experiment: Experiment) -> None:
    """The first one too, although its weights and images of one channel are contiguous either way."""
    training = Training.start(experiment, SPEC, CPU)
    strides: list[tuple[int, ...]] = []
    for module in training.model.modules():
        if isinstance(module, nn.Conv2d) and module.out_channels > 1:
            module.register_forward_hook(lambda _module, _inputs, output: strides.append(output.stride()))

    batch = batches(0, slice(0, 8))
    for phase in training.model.phases():
        noise = batch_noise(phase.noise, seed=0, purpose=phase.name, step=0, count=8)
        phase.terms(batch, placed(noise, batch.images))

    assert strides
    assert {stride[1] for stride in strides} == {1}


def test_adam_forgets_as_each_phase_says_of_the_step() -> None:
    training = trained_before(experiment_of(ADAPTIVE))

    for optimizer, phase in zip(training.optimizers, training.model.phases(), strict=True):
        assert optimizer.param_groups[0]["betas"] == phase.betas(5 / 6)
        assert phase.betas(5 / 6) != phase.betas(0.0)


@pytest.mark.parametrize("model", [CODER, ADAPTIVE], ids=name_of)
def test_the_gradient_is_clipped_to_the_norm(model: ModelConfig) -> None:
    """With Adam's step of about lr a weight, what is clipped is seen only through the norm that is logged before."""
    experiment = experiment_of(model)
    free = trained_before(experiment)
    clipped = trained(experiment.patched({"optimizer": OptimizerConfig(clip_norm=1e-9).model_dump()}))

    with pytest.raises(AssertionError):
        assert_same(free, clipped)


def test_the_microbatches_of_all_workers_are_the_batch_and_each_row_comes_once() -> None:
    for pieces in range(1, 17):
        for count in range(1, pieces + 1):
            dealt = [Workers(rank, count).microbatches(3 * pieces, pieces) for rank in range(count)]

            assert [row for own in dealt for piece in own for row in range(3 * pieces)[piece]] == [*range(3 * pieces)]
            assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def _train_as_one_of_three(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=3)
    for index, model in enumerate(MODELS):
        shared = experiment_of(model).patched({"scaling": {"microbatches": 4}})
        keep(trained(shared, Workers(rank, 3)), Path(folder) / f"{index}-{rank}")
    distributed.destroy_process_group()
