"""What every model keeps to."""

import copy

import pytest
import torch
from tests.kinds import SMALL_MODELS, name_of
from torch import Tensor

from rayology.image import Batch, Grid, ImageSpec
from rayology.models import GanConfig, Generates, Phase, Reconstructs, Vae, VaeConfig, capabilities
from rayology.models.adaptive import AdaptiveConfig
from rayology.models.backbones import ResNetConfig, padded
from rayology.models.backbones.pyramid import pyramid
from rayology.noise import Noise, batch_noise, indexed_noise, rows_of
from rayology.training.gradients import only_trainable

SMALL = ResNetConfig(width=8)
ADAPTIVE = AdaptiveConfig(rotate=0.8, noise=0.8)
CONFIGS = [*SMALL_MODELS, GanConfig(generator=SMALL, critic=SMALL, adaptive=ADAPTIVE)]
SPECS = [
    ImageSpec(size=(16, 16)),
    ImageSpec(size=(24, 40), channels=3, classes=("a", "b")),
    ImageSpec(size=(64, 64), classes=("a", "b", "c")),
    ImageSpec(size=(16, 16, 16), classes=("a", "b")),
    ImageSpec(size=(16, 24, 32), channels=2),
    ImageSpec(size=(28, 28), classes=("a", "b")),
    ImageSpec(size=(17, 30)),
    ImageSpec(size=(20, 17, 20), classes=("a", "b")),
]
Config = VaeConfig | GanConfig


@pytest.fixture(params=CONFIGS, ids=name_of)
def config(request: pytest.FixtureRequest) -> Config:
    config: Config = request.param
    return config


@pytest.fixture(params=SPECS, ids=lambda spec: "x".join(map(str, spec.shape)))
def spec(request: pytest.FixtureRequest) -> ImageSpec:
    spec: ImageSpec = request.param
    return spec


@pytest.fixture(params=[*SPECS[2:4], SPECS[5], SPECS[7]], ids=lambda spec: "x".join(map(str, spec.shape)))
def labelled(request: pytest.FixtureRequest) -> ImageSpec:
    """Images, and volumes, of several classes."""
    spec: ImageSpec = request.param
    return spec


def batch_of(spec: ImageSpec, count: int = 4) -> Batch:
    labels = torch.arange(count) % max(len(spec.classes), 1)
    return Batch(torch.rand(count, *spec.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1, labels)


def noise_for(model: Generates, count: int = 4) -> Noise:
    return indexed_noise(model.sample_noise(), seed=2, indices=range(count))


def noise_of(phase: Phase, count: int = 4) -> Noise:
    return batch_noise(phase.noise, seed=3, purpose=phase.name, step=0, count=count)


def doubled(noise: Noise) -> Noise:
    return {name: drawn.double() for name, drawn in noise.items()}


def test_samples_have_the_shape_of_the_images(config: Config, spec: ImageSpec) -> None:
    model = config.build(spec)

    assert model.sample(noise_for(model), batch_of(spec).labels).shape == (4, *spec.shape)


def test_each_phase_gives_one_finite_value_a_sample_for_each_term(config: Config, spec: ImageSpec) -> None:
    model = config.build(spec)

    for phase in model.phases():
        for name, term in phase.terms(batch_of(spec), noise_of(phase)).terms.items():
            assert term.shape == (4,), name
            assert term.isfinite().all(), name


def test_the_phases_move_every_parameter_and_share_none(config: Config, labelled: ImageSpec) -> None:
    model = config.build(labelled)

    moved = [parameter for phase in model.phases() for parameter in phase.parameters]

    assert len(moved) == len({id(parameter) for parameter in moved}) == len(list(model.parameters()))


def test_a_phase_reaches_each_of_its_parameters(config: Config, labelled: ImageSpec) -> None:
    """A parameter without a gradient would be one that the loss cannot see."""
    torch.manual_seed(0)
    model = config.build(labelled)
    for name, parameter in model.named_parameters():
        # Between the margins of a hinge, what a bias does to real images it undoes to generated ones.
        torch.nn.init.normal_(parameter, mean=2.0 * name.endswith("score.bias"), std=0.1)

    for phase in model.phases():
        only_trainable(model.parameters(), phase.parameters)
        terms = phase.terms(batch_of(labelled), noise_of(phase)).terms
        torch.stack([term.sum() for term in terms.values()]).sum().backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in phase.parameters)


def test_the_gradient_of_each_phase_is_that_of_its_finite_difference(config: Config) -> None:
    """Penalties too, whose gradient differentiates a critic twice."""
    spec = SPECS[5]
    model = config.patched({"activation": "silu"}).build(spec).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = Batch(batch_of(spec).images.double(), batch_of(spec).labels)

    for phase in model.phases():
        noise = doubled(noise_of(phase))
        only_trainable(model.parameters(), phase.parameters)

        def loss(phase: Phase = phase, noise: Noise = noise) -> Tensor:
            return torch.stack([term.sum() for term in phase.terms(batch, noise).terms.values()]).sum()

        gradients = torch.autograd.grad(loss(), phase.parameters)
        directions = [torch.randn_like(parameter) for parameter in phase.parameters]
        slope = sum(float((one * other).sum()) for one, other in zip(gradients, directions, strict=True))
        sides = []
        for move in (1e-6, -2e-6):
            torch._foreach_add_([parameter.data for parameter in phase.parameters], directions, alpha=move)
            sides.append(float(loss().detach()))
        assert slope == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-4), phase.name


def test_bf16_makes_nearly_what_float32_does(config: Config) -> None:
    spec = SPECS[5]
    model = config.build(spec)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    labels, found = batch_of(spec).labels, []

    for is_on in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_on):
            terms = [phase.terms(batch_of(spec), noise_of(phase)).terms for phase in model.phases()]
            found.append((model.sample(noise_for(model), labels).float(), terms))

    (exact, exact_terms), (rounded, rounded_terms) = found
    torch.testing.assert_close(rounded, exact, rtol=0.0, atol=0.05 * float(exact.detach().abs().max()))
    for one, other in zip(rounded_terms, exact_terms, strict=True):
        for name, term in other.items():
            torch.testing.assert_close(one[name].float(), term, rtol=0.05, atol=0.05, msg=name)


def test_a_sample_depends_on_its_own_row_alone(config: Config, labelled: ImageSpec) -> None:
    model = config.build(labelled).double()
    labels, noise = batch_of(labelled).labels, doubled(noise_for(model))

    together = model.sample(noise, labels)
    alone = model.sample(rows_of(noise, slice(2, 3)), labels[2:3])

    torch.testing.assert_close(together[2:3], alone)


def test_the_terms_of_a_row_depend_on_that_row_alone(config: Config, labelled: ImageSpec) -> None:
    model = config.build(labelled).double()
    batch = Batch(batch_of(labelled).images.double(), batch_of(labelled).labels)

    for phase in model.phases():
        noise = doubled(noise_of(phase))
        whole = phase.terms(batch, noise).terms
        part = phase.terms(batch[:2], rows_of(noise, slice(2))).terms
        for name in whole:
            torch.testing.assert_close(whole[name][:2], part[name])


def test_the_class_changes_what_is_drawn_only_when_the_model_is_told_it(config: Config, labelled: ImageSpec) -> None:
    for conditional in (True, False):
        model = config.patched({"conditional": conditional}).build(labelled)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        noise = {name: drawn[:1].expand(2, *drawn.shape[1:]) for name, drawn in noise_for(model).items()}

        first, second = model.sample(noise, torch.tensor([0, 1]))

        assert torch.equal(first, second) is not conditional


def test_only_a_vae_reconstructs(config: Config) -> None:
    model = config.build(SPECS[0])

    assert isinstance(model, Reconstructs) == ("reconstruct" in capabilities(config.builds())) == isinstance(model, Vae)


def test_the_served_parts_are_enough_to_sample(config: Config) -> None:
    model = config.build(SPECS[0])
    stripped = copy.deepcopy(model)
    for name, module in stripped.named_children():
        if name not in model.inference_modules:
            for parameter in module.parameters():
                parameter.data.fill_(torch.nan)

    drawn = stripped.sample(noise_for(model), batch_of(SPECS[0]).labels)

    torch.testing.assert_close(drawn, model.sample(noise_for(model), batch_of(SPECS[0]).labels))


@pytest.mark.parametrize(
    ("size", "coarsest"),
    [
        ((64, 64), (4, 4)),
        ((24, 40), (3, 5)),
        ((64, 64, 64), (4, 4, 4)),
        ((16, 32, 64), (4, 8, 16)),
        ((24,) * 3, (3,) * 3),
        ((28, 28), (4, 4)),
        ((17, 30), (3, 4)),
        ((20,) * 3, (3,) * 3),
    ],
)
def test_every_padded_side_is_halved_alike_until_one_is_short_or_odd(
    size: tuple[int, ...], coarsest: tuple[int, ...]
) -> None:
    grids = pyramid(SMALL, ImageSpec.model_validate({"size": size}).grid)

    assert grids[-1].size == coarsest
    assert [side * 2 ** (len(grids) - 1) for side in coarsest] == list(padded(size))


@pytest.mark.parametrize(("size", "grid"), [((28, 28), (32, 32)), ((17, 30), (24, 32)), ((20, 17, 24), (24,) * 3)])
def test_a_network_pads_images_all_around_and_crops_what_it_draws(size: tuple[int, ...], grid: tuple[int, ...]) -> None:
    """By as much before as after, one pixel aside, with the value of the surroundings."""
    own, whole = (
        (SMALL.encoder(Grid(1, sides), activation="silu"), SMALL.decoder(Grid(1, sides), activation="silu"))
        for sides in (size, grid)
    )
    for each, other in zip(own, whole, strict=True):
        for parameter in each.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        other.load_state_dict(each.state_dict())
    inside = [
        slice((after - before) // 2, (after - before) // 2 + before) for before, after in zip(size, grid, strict=True)
    ]
    images = batch_of(ImageSpec.model_validate({"size": size})).images
    surrounded = torch.full((4, 1, *grid), -1.0)
    surrounded[:, :, *inside] = images

    features = own[0](images)

    assert torch.equal(features, whole[0](surrounded))
    assert torch.equal(own[1](features), whole[1](features)[:, :, *inside])


def test_a_volume_of_equal_slices_is_encoded_as_the_image_of_one() -> None:
    """With the filters of the image in the middle of those of the volume, and nothing beside them."""
    flat, deep = (SMALL.encoder(ImageSpec(size=size).grid, activation="silu") for size in ((32, 32), (32, 32, 32)))
    for parameter in flat.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    for image_weight, weight in zip(flat.parameters(), deep.parameters(), strict=True):
        if weight.ndim == 5:
            weight.data.zero_()[:, :, weight.shape[2] // 2] = image_weight.data
        else:
            weight.data.copy_(image_weight.data)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1

    features = flat(images).view(2, -1, 1, 4, 4)

    of_volumes = deep(images[:, :, None].expand(-1, -1, 32, -1, -1)).view(2, -1, 4, 4, 4)
    torch.testing.assert_close(of_volumes, features.expand_as(of_volumes))
