"""Laws of adaptive augmentation: when it sets in, whom it reaches, and where it must not show."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rayology.augment import AugmentConfig
from rayology.bundle import draw, provenance_of, write_bundle
from rayology.config import validated
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.models import Gan, GanConfig
from rayology.models.adaptive import AdaptiveAugmentation, AdaptiveConfig
from rayology.models.backbones import ResNetConfig
from rayology.noise import Noise, batch_noise

SPEC = ImageSpec(size=(16, 16))
SMALL = ResNetConfig(width=8)
STRONG = AdaptiveConfig(rotate=0.8, intensity=0.8, noise=0.8)
TRANSFORMS = sorted(AugmentConfig.model_fields)
LABELS = torch.zeros(16, dtype=torch.int64)


def built(adaptive: AdaptiveConfig, *, strength: float) -> Gan:
    torch.manual_seed(0)
    model = GanConfig(generator=SMALL, critic=SMALL, adaptive=adaptive).build(SPEC)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.adaptive.strength.fill_(strength)
    return model


def images(count: int = 16) -> torch.Tensor:
    return torch.rand(count, *SPEC.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def noise_for(model: Gan, seed: int = 2) -> Noise:
    return batch_noise(model.phases()[0].noise, seed=seed, purpose="critic", step=0, count=16)


def count(adaptive: AdaptiveAugmentation, share: float, num_images: int) -> None:
    adaptive.adapt(torch.tensor(share * num_images), num_images=torch.tensor(float(num_images)))


def test_the_strength_follows_the_pairs_told_apart_within_0_and_1() -> None:
    adaptive = AdaptiveAugmentation(AdaptiveConfig(rotate=0.5, target=0.6, ramp_images=2560))
    reached = []

    for share in (0.0, 0.7, 0.6, 1.0, 0.5, *[0.9] * 12, -1.0):
        count(adaptive, share, 256)
        reached.append(round(float(adaptive.strength), 6))

    assert reached[:5] == [0.0, 0.1, 0.1, 0.2, 0.1]
    assert reached[-2:] == [1.0, 0.9]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 8, 64])
def test_the_share_is_held_at_the_target_whatever_the_batch(batch_size: int) -> None:
    adaptive = AdaptiveAugmentation(AdaptiveConfig(rotate=0.5, target=0.6, ramp_images=25_600))
    generator = torch.Generator().manual_seed(0)
    shares = []

    for _ in range(150 * 256 // batch_size):
        shares.append(1 - 0.8 * float(adaptive.strength))  # a critic that the transforms confuse
        pairs = torch.rand(batch_size, generator=generator) < (1 + shares[-1]) / 2
        adaptive.adapt((2.0 * pairs - 1).sum(), num_images=torch.tensor(float(batch_size)))

    held = shares[-len(shares) // 3 :]
    assert sum(held) / len(held) == pytest.approx(0.6, abs=0.03)


def test_a_share_that_is_the_target_moves_nothing_however_it_was_summed_up() -> None:
    adaptive = AdaptiveAugmentation(AdaptiveConfig(rotate=0.5, target=0.6))
    adaptive.strength.fill_(0.5)

    for parts in ([0.6], [0.1, 0.5], [0.2, 0.2, 0.2], [0.3, 0.3], [0.05] * 12):
        signs = torch.zeros(())
        for part in parts:
            signs = signs + 32 * part
        for _ in range(8):
            adaptive.adapt(signs, num_images=torch.tensor(32.0))

        assert adaptive.num_images == 0
        assert adaptive.strength == 0.5


def test_at_strength_zero_every_term_is_that_of_a_model_without_it() -> None:
    adaptive, plain = built(STRONG, strength=0.0), built(AdaptiveConfig(), strength=0.0)
    batch = Batch(images(), LABELS)

    for phase, other in zip(adaptive.phases(), plain.phases(), strict=True):
        noise = noise_for(adaptive)
        terms, expected = phase.terms(batch, noise).terms, other.terms(batch, noise).terms
        assert terms.keys() - expected.keys() <= {"ada_rt", "strength"}
        for name, term in expected.items():
            assert torch.equal(terms[name], term), name


@pytest.mark.parametrize("phase", [0, 1], ids=["critic", "generator"])
@pytest.mark.parametrize("half", [0, 1], ids=["real", "generated"])
def test_real_and_generated_images_are_each_transformed_for_themselves(phase: int, half: int) -> None:
    model = built(STRONG, strength=1.0)
    terms, batch = model.phases()[phase].terms, Batch(images(), LABELS)
    noise = noise_for(model)
    augment = noise["augment"].clone()
    augment[:, half] = noise_for(model, seed=3)["augment"][:, half]

    pairing = terms(batch, noise).terms["adversarial"]
    changed = terms(batch, {**noise, "augment": augment}).terms["adversarial"]

    assert not torch.equal(pairing, changed)


def test_gradients_reach_the_generator_through_every_transform() -> None:
    for name in TRANSFORMS:
        model = built(AdaptiveConfig(**{name: 0.4}), strength=1.0)
        generator = model.phases()[1]
        noise = noise_for(model)
        noise["augment"].fill_(0.3)  # below every probability

        generator.terms(Batch(images(), LABELS), noise).terms["adversarial"].sum().backward(inputs=generator.parameters)

        assert all(each.grad is not None and each.grad.isfinite().all() for each in generator.parameters), name
        assert all(each.grad is not None and each.grad.any() for each in generator.parameters), name


def test_the_pairs_told_apart_are_counted_by_their_order() -> None:
    adaptive = AdaptiveAugmentation(STRONG)
    real, fake = torch.tensor([2.0, 1.0, 0.5, -3.0]), torch.tensor([1.0, 2.0, -0.5, -4.0])

    outcome = adaptive.counted({}, real.requires_grad_(), fake)

    assert outcome.terms["ada_rt"].tolist() == [1.0, -1.0, 1.0, 1.0]
    assert not outcome.terms["ada_rt"].requires_grad
    assert [float(outcome.sums[name]) for name in ("ada_rt", "images")] == [2.0, 4.0]


def test_samples_are_never_transformed() -> None:
    noise = noise_for(built(STRONG, strength=1.0))

    strong, plain = (built(config, strength=1.0).sample(noise, LABELS) for config in (STRONG, AdaptiveConfig()))

    assert torch.equal(strong, plain)


def test_a_bundle_keeps_no_strength(tmp_path: Path) -> None:
    model = built(STRONG, strength=0.5)
    bundle = write_bundle(
        tmp_path / "bundle",
        experiment=Experiment(model=GanConfig(generator=SMALL, critic=SMALL, adaptive=STRONG)),
        model=model,
        metrics={},
        provenance=provenance_of(dataset="1234", note="", seed=0, steps=1),
    )

    loaded = bundle.build()

    assert not [name for name in load_file(bundle.path / "weights.safetensors") if "strength" in name]
    assert torch.equal(draw(loaded, count=4, seed=0), draw(model, count=4, seed=0))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_that_would_leak_is_refused(name: str) -> None:
    most = 0.4 if name in ("mirror", "flip") else 0.8

    assert not AdaptiveConfig(target=0.5).is_on
    assert AdaptiveConfig(**{name: most}).is_on
    with pytest.raises(ConfigError, match=f"{name} 0.9 would show in what the model draws; write {most} at most"):
        validated(GanConfig, {"adaptive": {name: 0.9}}, where="test")
