"""Fully connected layers, which know nothing of neighbourhoods: what the others are held against."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

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
    he_normal,
    padded,
)

__all__ = ["DenseConfig"]

MOST_WEIGHTS = 2**28  # of the layer at the image: 1 GiB in float32


class DenseConfig(BaseBackboneConfig):
    """Layers of one width, each connected to all of the last, the first or last of them to every pixel."""

    kind: Literal["dense"] = "dense"
    """Kind of backbone."""
    width: Annotated[int, Field(ge=16, le=4096, multiple_of=8), Choice(128, 256, 512)] = 256
    """Units of each layer."""
    depth: Annotated[int, Field(ge=1, le=16), Choice(1, 2, 3)] = 2
    """Layers, the one at the image included."""

    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to one place."""
        return Encoder(self, image, activation)

    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from one place to images."""
        return Decoder(self, image, activation)

    def out(self, image: Grid) -> Grid:
        """Return the coarsest grid: one place.

        Raises:
            ConfigError: the layer at the image is too large.
        """
        weights = self.width * image.channels * math.prod(padded(image.size))
        if weights > MOST_WEIGHTS:
            raise ConfigError(
                f"a dense backbone of width {self.width} has {weights:,} weights at images of "
                f"{'x'.join(map(str, image.size))}, of which {MOST_WEIGHTS:,} are the most; lower its width or "
                "preparation.size"
            )
        return Grid(self.width, (1,) * len(image.size))


class Encoder(GridEncoder):
    """Images to one place."""

    def __init__(self, config: DenseConfig, image: Grid, activation: Activation) -> None:
        super().__init__(out=config.out(image))
        inputs = image.channels * math.prod(padded(image.size))
        self.layers = hidden([inputs, *[config.width] * config.depth], activation)
        self.activation = activation

    def features(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *coarse"]:
        """Return the features of padded images."""
        x = images.flatten(1)
        for layer in self.layers:
            x = activate(layer(x), self.activation)
        return x.unflatten(1, (-1, *self.out.size))


class Decoder(GridDecoder):
    """One place to images."""

    def __init__(self, config: DenseConfig, image: Grid, activation: Activation) -> None:
        shape = image.channels, *padded(image.size)
        super().__init__(inp=config.out(image), head=nn.Linear(config.width, math.prod(shape)), size=image.size)
        self.layers = hidden([config.width] * config.depth, activation)
        self.shape = shape
        self.activation = activation

    def padded_images(self, coarse: Float[Tensor, "batch width *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images with their margins."""
        x = activate(coarse.flatten(1), self.activation)
        for layer in self.layers:
            x = activate(layer(x), self.activation)
        return self.head(x).unflatten(1, self.shape)


def hidden(widths: Sequence[int], activation: Activation) -> nn.ModuleList:
    """Return layers from each width to the next."""
    layers = [nn.Linear(before, after) for before, after in pairwise(widths)]
    for layer in layers:
        he_normal(layer, activation)
    return nn.ModuleList(layers)
