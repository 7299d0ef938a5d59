"""What every backbone keeps to."""

import pytest
import torch
from tests.kinds import smallest

from rayology.config import alternatives
from rayology.errors import ConfigError
from rayology.image import Grid
from rayology.models.backbones import (
    Activation,
    BackboneConfig,
    DenseConfig,
    DenseNetConfig,
    TransformerConfig,
    TranslatorConfig,
    UnetConfig,
    VggConfig,
)
from rayology.models.backbones.base import BaseBackboneConfig
from rayology.models.backbones.transformer import tiled

SIZES = [(16, 16), (17, 30), (64, 40), (16, 16, 16), (20, 17, 24)]
BACKBONES = [kind.model_validate(smallest(kind)) for kind in alternatives(BackboneConfig)]
TRANSLATORS = [kind.model_validate(smallest(kind)) for kind in alternatives(TranslatorConfig)]
LARGE = [(4096, 4096), (256, 256, 256)]


def kind_of(config: BaseBackboneConfig) -> str:
    return str(config.model_dump()["kind"])


@pytest.fixture(params=BACKBONES, ids=kind_of)
def backbone(request: pytest.FixtureRequest) -> BaseBackboneConfig:
    found: BaseBackboneConfig = request.param
    return found


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_decoder_takes_the_grid_that_its_encoder_gives(backbone: BaseBackboneConfig, size: tuple[int, ...]) -> None:
    image = Grid(3, size)
    encoder, decoder = backbone.encoder(image, activation="silu"), backbone.decoder(image, activation="silu")
    images = torch.rand(2, 3, *size)

    features = encoder(images)

    assert features.shape == (2, encoder.out.channels, *encoder.out.size)
    assert encoder.out == decoder.inp
    assert decoder(features).shape == images.shape


def test_features_of_an_image_depend_on_that_image_alone(backbone: BaseBackboneConfig) -> None:
    encoder = backbone.encoder(Grid(1, (16, 24)), activation="leaky_relu").double()
    images = torch.rand(3, 1, 16, 24, dtype=torch.float64)

    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]))


@pytest.mark.parametrize("activation", ["leaky_relu", "silu"])
@pytest.mark.parametrize(
    "backbone",
    [*BACKBONES, *(kind.model_validate({**smallest(kind), "norm": "none"}) for kind in (VggConfig, DenseNetConfig))],
    ids=lambda config: f"{kind_of(config)}-{getattr(config, 'norm', '')}",
)
def test_neither_deep_nor_plain_networks_lose_what_passes_them(
    backbone: BaseBackboneConfig, activation: Activation
) -> None:
    """Features of sixteen images differ from one another as much as they did in a shallow network, to a factor."""
    deep = backbone.patched({"depth": 3})

    encoder = deep.encoder(Grid(1, (32, 32)), activation=activation)

    spread = encoder(torch.randn(16, 1, 1, 1).expand(-1, -1, 32, 32)).detach().std(0).mean()
    assert 0.001 < float(spread) < 100


def test_bf16_is_close_to_float32(backbone: BaseBackboneConfig) -> None:
    encoder = backbone.encoder(Grid(1, (32, 32)), activation="silu")
    images = torch.randn(4, 1, 32, 32)

    exact = encoder(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder(images)

    torch.testing.assert_close(rounded.float(), exact, rtol=0.0, atol=0.05 * float(exact.detach().abs().max()))


@pytest.mark.parametrize("size", LARGE, ids=str)
def test_a_size_that_does_not_fit_is_refused_with_both_fields(
    backbone: BaseBackboneConfig, size: tuple[int, ...]
) -> None:
    for build in (backbone.encoder, backbone.decoder):
        if isinstance(backbone, DenseConfig | TransformerConfig):
            with pytest.raises(ConfigError, match=r"(width|patch).* preparation\.size"):
                build(Grid(64, size), activation="silu")
        else:
            build(Grid(64, size), activation="silu")


def test_patches_that_do_not_tile_an_image_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"patches of 32 pixels do not tile images of 40x64 \(padded to 40x64\)"):
        TransformerConfig(patch=32).encoder(Grid(1, (40, 64)), activation="silu")


@pytest.mark.parametrize("size", [(4, 6), (4, 2, 6)], ids=str)
def test_patches_are_put_where_they_were_cut(size: tuple[int, ...]) -> None:
    images = torch.rand(2, 3, *size)
    patches = images
    for axis in range(len(size)):
        patches = patches.unfold(2 + axis, 2, 2)

    assert torch.equal(tiled(patches.movedim(1, 1 + len(size))), images)


def test_attention_sees_where_a_patch_lies() -> None:
    """Without positions, features of an image and of its patches in another order would be the same set."""
    encoder = TransformerConfig(width=32).encoder(Grid(1, (16, 16)), activation="silu")
    images = torch.randn(1, 1, 16, 16)

    features, flipped = encoder(images), encoder(images.roll(8, 3)).roll(1, 3)

    assert not torch.allclose(features, flipped, atol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("config", TRANSLATORS, ids=kind_of)
def test_a_translator_keeps_the_size_and_changes_the_channels(config: TranslatorConfig, size: tuple[int, ...]) -> None:
    translator = config.translator(Grid(2, size), Grid(3, size), activation="silu")

    assert translator(torch.rand(2, 2, *size)).shape == (2, 3, *size)


def test_a_unet_passes_what_the_coarsest_grid_cannot_hold() -> None:
    """Each pixel of its output follows the pixel of its input at once, by the shortcut."""
    unet = UnetConfig(width=8).translator(Grid(1, (32, 32)), Grid(1, (32, 32)), activation="silu")
    images = torch.zeros(1, 1, 32, 32, requires_grad=True)

    (gradient,) = torch.autograd.grad(unet(images)[0, 0, 16, 16], images)

    near = gradient[0, 0, 15:18, 15:18].abs().sum()
    assert near > 10 * gradient[0, 0, :8, :8].abs().sum()
