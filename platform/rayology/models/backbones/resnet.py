"""A residual convolutional backbone without normalisation: an encoder, and a decoder that mirrors it."""

import math
from itertools import pairwise
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Choice, Config
from rayology.image import ImageSpec
from rayology.primitives import PRIMITIVES

__all__ = ["Decoder", "Encoder", "ResNetConfig"]

Activation = Literal["leaky_relu", "silu"]
COARSEST = 4  # an image is halved until a side is at most this long, or odd


class ResNetConfig(Config):
    """Residual blocks of two convolutions, 3 pixels a side, at every resolution below the image's own."""

    kind: Literal["resnet"] = "resnet"
    """Which backbone."""
    width: Annotated[int, Field(ge=8, le=512, multiple_of=8), Choice(8, 16, 32, 64)] = 16
    """Channels at the image's own resolution."""
    depth: Annotated[int, Field(ge=1, le=16), Choice(1, 2, 3)] = 1
    """Residual blocks at each resolution."""
    growth: Annotated[float, Field(ge=1, le=4), Choice(1.5, 2.0)] = 1.5
    """Factor on the channels each time the image is halved; 2 (of volumes 2.8) keeps every resolution's cost equal."""
    activation: Annotated[Activation, Choice("leaky_relu", "silu")] = "silu"
    """The nonlinearity before each convolution."""

    def encoder(self, image: ImageSpec) -> "Encoder":
        """Build the network from images to features."""
        return Encoder(self, image)

    def decoder(self, image: ImageSpec, *, inputs: int) -> "Decoder":
        """Build the network from ``inputs`` features to images."""
        return Decoder(self, image, inputs=inputs)


class ResidualBlock(nn.Module):
    """Two convolutions beside an identity; the last starts at zero (Fixup; Zhang et al. 2019, section 3)."""

    def __init__(self, width: int, activation: Activation, *, axes: int) -> None:
        super().__init__()
        self.first = PRIMITIVES[axes].convolution(width, width, 3, padding=1)
        self.last = PRIMITIVES[axes].convolution(width, width, 3, padding=1)
        self.activation = activation
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Float[Tensor, "batch width *space"]) -> Float[Tensor, "batch width *space"]:
        """Return x plus the residual."""
        return x + self.last(activate(self.first(activate(x, self.activation)), self.activation))


class Encoder(nn.Module):
    """Images to a vector of ``num_features`` features."""

    def __init__(self, config: ResNetConfig, image: ImageSpec) -> None:
        super().__init__()
        widths, coarsest = pyramid(config, image)
        axes = len(coarsest)
        convolution, average_pool = PRIMITIVES[axes].convolution, PRIMITIVES[axes].average_pool
        levels: list[nn.Module] = [convolution(image.channels, widths[0], 3, padding=1)]
        for finer, width in pairwise(widths):
            levels += [average_pool(2), convolution(finer, width, 1)]
            levels += [ResidualBlock(width, config.activation, axes=axes) for _ in range(config.depth)]
        self.levels = nn.Sequential(*levels)
        self.activation = config.activation
        self.num_features = widths[-1] * math.prod(coarsest)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch features"]:
        """Return the features of each image."""
        return activate(self.levels(images), self.activation).flatten(1)


class Decoder(nn.Module):
    """A vector to images, through the encoder's resolutions in reverse."""

    def __init__(self, config: ResNetConfig, image: ImageSpec, *, inputs: int) -> None:
        super().__init__()
        widths, self.coarsest = pyramid(config, image)
        axes = len(self.coarsest)
        convolution, linear = PRIMITIVES[axes].convolution, PRIMITIVES[axes].linear
        self.stem = nn.Linear(inputs, widths[-1] * math.prod(self.coarsest))
        levels: list[nn.Module] = []
        for width, finer in pairwise(reversed(widths)):
            levels += [ResidualBlock(width, config.activation, axes=axes) for _ in range(config.depth)]
            # The convolution of single pixels commutes with the linear filter and costs a quarter before it.
            levels += [convolution(width, finer, 1), nn.Upsample(scale_factor=2, mode=linear)]
        self.levels = nn.Sequential(*levels)
        self.last = convolution(widths[0], image.channels, 3, padding=1)
        self.activation = config.activation

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images that the inputs stand for."""
        coarse = self.stem(inputs).unflatten(1, (-1, *self.coarsest))
        return self.last(activate(self.levels(coarse), self.activation))


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply the nonlinearity, element by element."""
    match activation:
        case "leaky_relu":
            return functional.leaky_relu(x, 0.2)
        case "silu":
            return functional.silu(x)


def pyramid(config: ResNetConfig, image: ImageSpec) -> tuple[list[int], tuple[int, ...]]:
    """Return the channels at each resolution, finest first, and the size of the coarsest."""
    size: tuple[int, ...] = image.size
    widths = [config.width]
    while min(size) > COARSEST and not any(side % 2 for side in size):
        size = tuple(side // 2 for side in size)
        widths.append(8 * round(config.growth * widths[-1] / 8))
    return widths, size
