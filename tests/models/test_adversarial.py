"""What generator and critic are taught by."""

import pytest
import torch
from tests.kinds import covering
from torch import Tensor

from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.models import Gan, GanConfig
from rayology.models.adversarial import (
    LOSSES,
    AdversarialLoss,
    Compared,
    InterpolatedConfig,
    ZeroCentredConfig,
    squared_gradient,
)
from rayology.models.backbones import ResNetConfig, UnetConfig
from rayology.noise import Noise, batch_noise, rows_of

SMALL = ResNetConfig(width=8)
SPEC = ImageSpec(size=(16, 16), classes=("a", "b"))
WEIGHT = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))


def linear(images: Tensor) -> Tensor:
    return (images * WEIGHT).flatten(1).sum(1)


def compared(count: int = 3) -> Compared:
    images = torch.randn(2 * count, 1, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    return Compared(images, linear(images), linear)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_a_critic_learns_to_tell_images_apart_and_a_generator_to_pass_for_real(loss: AdversarialLoss) -> None:
    real, fake = torch.full((2, 4), 0.5, requires_grad=True).unbind()

    towards_critic = torch.autograd.grad(loss.critic(real, fake).sum(), (real, fake))
    (towards_generator,) = torch.autograd.grad(loss.generator(real.detach(), fake).sum(), fake)

    assert (towards_critic[0] < 0).all()
    assert (towards_critic[1] > 0).all()
    assert (towards_generator < 0).all()


@pytest.mark.parametrize("loss", [LOSSES["relativistic"]])
def test_of_a_relativistic_loss_only_the_difference_of_the_scores_counts(loss: AdversarialLoss) -> None:
    real, fake = torch.randn(2, 5, dtype=torch.float64)

    for half in (loss.critic, loss.generator):
        torch.testing.assert_close(half(real + 3, fake + 3), half(real, fake))


def test_the_squared_gradient_of_a_linear_score_is_its_squared_weight() -> None:
    asked = compared()

    torch.testing.assert_close(squared_gradient(asked.scores, asked.images), WEIGHT.square().sum().expand(6))


def test_the_squared_gradient_of_packs_adds_up_their_images() -> None:
    images = torch.randn(6, 1, 16, 16, requires_grad=True)
    of_packs = linear(images).unflatten(0, (-1, 3)).sum(1)

    torch.testing.assert_close(squared_gradient(of_packs, images), 3 * WEIGHT.square().sum().expand(2))


def test_the_squared_gradient_is_found_of_images_whose_channels_lie_together() -> None:
    images = torch.randn(6, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()

    found = squared_gradient(images.square().flatten(1).sum(1), images)

    torch.testing.assert_close(found, (2 * images).square().flatten(1).sum(1))


def test_zero_centred_penalties_fall_to_their_last_weight_over_the_training() -> None:
    config = ZeroCentredConfig(weight=2.0, decay=0.1)

    first, last = (config.terms(compared(), {}, progress=progress) for progress in (0.0, 1.0))

    for name in ("real_penalty", "fake_penalty"):
        torch.testing.assert_close(first[name], WEIGHT.square().sum().expand(3))
        torch.testing.assert_close(last[name], 0.1 * first[name])


def test_adams_second_moment_forgets_less_and_less_over_the_training() -> None:
    for phase in GanConfig(generator=SMALL, critic=SMALL, early_beta2=0.9).build(SPEC).phases():
        beta1, beta2 = zip(*(phase.betas(progress) for progress in (0.0, 0.5, 1.0)), strict=True)

        assert beta1 == (0.0, 0.0, 0.0)
        assert beta2 == pytest.approx((0.9, 0.945, 0.99))


def test_a_penalty_at_real_images_alone_leaves_generated_ones_free() -> None:
    terms = ZeroCentredConfig(at="real").terms(compared(), {}, progress=0.0)

    assert [*terms] == ["real_penalty"]


def test_an_interpolated_penalty_draws_the_norm_of_the_gradient_to_one() -> None:
    config = InterpolatedConfig(weight=10.0)
    noise = batch_noise(config.noise(), seed=0, purpose="critic", step=0, count=3)

    terms = config.terms(compared(), noise, progress=0.0)

    torch.testing.assert_close(terms["gradient_penalty"], 10 * (WEIGHT.norm() - 1).square().expand(3))


def noise_of(model: Gan, phase: int, count: int) -> Noise:
    drawn = batch_noise(model.phases()[phase].noise, seed=3, purpose="p", step=0, count=count)
    return {name: each.double() for name, each in drawn.items()}


@pytest.mark.parametrize(
    "config", [GanConfig.model_validate(values) for values in covering(GanConfig)], ids=lambda config: config.loss
)
def test_the_terms_of_a_pack_depend_on_that_pack_alone(config: GanConfig) -> None:
    model = config.patched({"packing": 2}).build(SPEC).double()
    assert isinstance(model, Gan)
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    batch = Batch(images, torch.arange(8) // 2 % 2)

    for index, phase in enumerate(model.phases()):
        noise = noise_of(model, index, 8)
        whole, part = phase.terms(batch, noise).terms, phase.terms(batch[:4], rows_of(noise, slice(4))).terms
        for name, term in whole.items():
            assert len(term) == 4
            torch.testing.assert_close(term[:2], part[name])


def test_a_critic_of_packs_sees_its_images_together() -> None:
    model = GanConfig(generator=SMALL, critic=SMALL, packing=2).build(SPEC)
    torch.nn.init.normal_(model.critic.score.weight)
    images, labels = torch.rand(4, 1, 16, 16), torch.zeros(4, dtype=torch.long)

    scores = model.critic(images, labels)
    changed = model.critic(torch.cat([images[:1], images[2:3], images[2:]]), labels)

    assert scores.shape == (2, 1)
    assert not torch.equal(scores[0], changed[0])
    assert torch.equal(scores[1], changed[1])


def test_a_unet_critic_scores_the_image_and_each_of_its_pixels() -> None:
    spec = ImageSpec(size=(17, 30), classes=("a", "b"))
    model = GanConfig(generator=SMALL, critic=UnetConfig(width=8)).build(spec)

    scores = model.critic(torch.rand(3, 1, 17, 30), torch.tensor([0, 1, 0]))

    assert scores.shape == (3, 1 + 17 * 30)


def test_a_critic_has_a_bias_only_where_it_would_not_cancel() -> None:
    for name, loss in LOSSES.items():
        model = GanConfig(generator=SMALL, critic=SMALL, loss=name).build(SPEC)

        assert (model.critic.score.bias is not None) == loss.has_bias


def test_the_generator_moves_once_in_as_many_steps_as_the_critic_takes_for_it() -> None:
    critic, generator = GanConfig(generator=SMALL, critic=SMALL, critic_steps=5, critic_lr=2.0).build(SPEC).phases()

    assert (critic.every, generator.every) == (1, 5)
    assert (critic.lr, generator.lr) == (2.0, 1.0)


def test_an_experiment_with_packs_needs_a_batch_of_them() -> None:
    with pytest.raises(ValueError, match=r"batch_size 6 must be a multiple of 4, the microbatches of packs of 4"):
        Experiment.model_validate({"model": {"kind": "gan", "packing": 4}, "schedule": {"batch_size": 6}})
