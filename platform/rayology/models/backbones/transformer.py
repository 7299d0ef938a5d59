"""A vision transformer: an image as patches that attend to one another (Dosovitskiy et al. 2021)."""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from rayology.config import Choice
from rayology.errors import ConfigError
from rayology.image import Grid
from rayology.models.backbones.base import (
    Activation,
    BaseBackboneConfig,
    GridDecoder,
    GridEncoder,
    activate,
    padded,
)
from rayology.primitives import PRIMITIVES

__all__ = ["TransformerConfig"]

MOST_TOKENS = 1024  # attention holds their square, for each head of each block of each image
HEAD = 32  # channels a head
WIDER = 4  # times as many units inside a block's perceptron as channels
POSITION_STD = 0.02  # of the positions at first (Dosovitskiy et al. 2021, after BERT)


class TransformerConfig(BaseBackboneConfig):
    """Blocks of self-attention and a perceptron over the patches of an image, with learned positions."""

    kind: Literal["transformer"] = "transformer"
    """Kind of backbone."""
    width: Annotated[int, Field(ge=32, le=1024, multiple_of=HEAD), Choice(64, 96, 128)] = 64
    """Channels of each patch, 32 for each head."""
    depth: Annotated[int, Field(ge=1, le=24), Choice(2, 3, 4)] = 3
    """Blocks."""
    patch: Annotated[int, Field(ge=2, le=32, multiple_of=2), Choice(4, 8)] = 8
    """Pixels of a patch along each axis."""

    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to the grid of their patches."""
        return Encoder(self, image, activation)

    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from the grid of their patches to images."""
        return Decoder(self, image, activation)

    def patches(self, image: Grid) -> Grid:
        """Return the grid of the patches.

        Raises:
            ConfigError: they do not tile the image, or are too many.
        """
        sides, named = padded(image.size), "x".join(map(str, image.size))
        if any(side % self.patch for side in sides):
            raise ConfigError(
                f"a transformer's patches of {self.patch} pixels do not tile images of {named} (padded to "
                f"{'x'.join(map(str, sides))}); lower its patch, or choose a preparation.size that it divides"
            )
        grid = Grid(self.width, tuple(side // self.patch for side in sides))
        if (tokens := math.prod(grid.size)) > MOST_TOKENS:
            raise ConfigError(
                f"a transformer with patches of {self.patch} pixels cuts images of {named} into {tokens:,} patches, of "
                f"which {MOST_TOKENS:,} are the most; raise its patch, or lower preparation.size"
            )
        return grid


class Encoder(GridEncoder):
    """Images to the grid of their patches."""

    def __init__(self, config: TransformerConfig, image: Grid, activation: Activation) -> None:
        super().__init__(out=config.patches(image))
        convolution = PRIMITIVES[len(image.size)].convolution
        self.stem = convolution(image.channels, config.width, config.patch, stride=config.patch)
        self.blocks = blocks(config, self.out, activation)

    def features(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *coarse"]:
        """Return the features of padded images."""
        return as_grid(self.blocks(as_tokens(self.stem(images))), self.out)


class Decoder(GridDecoder):
    """The grid of their patches to images."""

    def __init__(self, config: TransformerConfig, image: Grid, activation: Activation) -> None:
        inp, self_patch = config.patches(image), (config.patch,) * len(image.size)
        super().__init__(inp=inp, head=nn.Linear(config.width, image.channels * math.prod(self_patch)), size=image.size)
        self.patch = image.channels, *self_patch
        self.blocks = blocks(config, inp, activation)

    def padded_images(self, coarse: Float[Tensor, "batch width *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images with their margins."""
        drawn = self.head(self.blocks(as_tokens(coarse)))
        return tiled(drawn.unflatten(2, self.patch).unflatten(1, self.inp.size))


def blocks(config: TransformerConfig, grid: Grid, activation: Activation) -> nn.Sequential:
    """Return the positions, the blocks, and the normalisation behind them."""
    inside = [Block(config.width, activation) for _ in range(config.depth)]
    return nn.Sequential(Positions(grid), *inside, nn.LayerNorm(config.width))


class Positions(nn.Module):
    """Add to each token what is learned of its place."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.weight = nn.Parameter(POSITION_STD * torch.randn(math.prod(grid.size), grid.channels))

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        """Add it."""
        return tokens + self.weight


class Block(nn.Module):
    """Self-attention, then a perceptron, each added to an identity and normalised before it (Xiong et al. 2020)."""

    def __init__(self, width: int, activation: Activation) -> None:
        super().__init__()
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)
        self.activation = activation

    def forward(self, tokens: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token width"]:
        """Return the tokens plus what they learn from one another and from themselves."""
        heads = self.queries_keys_values(self.attention_norm(tokens)).unflatten(2, (3, -1, HEAD)).movedim(2, 0)
        tokens = tokens + self.mix(attention(*heads.transpose(2, 3)).transpose(1, 2).flatten(2))
        return tokens + self.narrow(activate(self.widen(self.perceptron_norm(tokens)), self.activation))


def attention(
    queries: Float[Tensor, "batch head token channel"],
    keys: Float[Tensor, "batch head token channel"],
    values: Float[Tensor, "batch head token channel"],
) -> Float[Tensor, "batch head token channel"]:
    """Return each token's mean of the values, by how well its query fits their keys (Vaswani et al. 2017, eq. 1).

    Written out, because torch's own kernels cannot be differentiated twice, as a critic's penalties ask.
    """
    fit = queries @ keys.transpose(2, 3) / math.sqrt(HEAD)
    return fit.softmax(dim=3) @ values


def as_tokens(grid: Float[Tensor, "batch width *space"]) -> Float[Tensor, "batch token width"]:
    """Line the places of a grid up."""
    return grid.flatten(2).transpose(1, 2)


def as_grid(tokens: Float[Tensor, "batch token width"], grid: Grid) -> Float[Tensor, "batch width *space"]:
    """Put tokens at the places of a grid."""
    return tokens.transpose(1, 2).unflatten(2, grid.size)


def tiled(patches: Float[Tensor, "..."]) -> Float[Tensor, "batch channel *space"]:
    """Put patches next to one another: from (batch, *places, channel, *patch) to (batch, channel, *space)."""
    axes = (patches.ndim - 2) // 2
    interleaved = [
        axis for pair in zip(range(1, axes + 1), range(axes + 2, 2 * axes + 2), strict=True) for axis in pair
    ]
    images = patches.permute(0, axes + 1, *interleaved)
    for axis in range(axes):
        images = images.flatten(2 + axis, 3 + axis)
    return images
