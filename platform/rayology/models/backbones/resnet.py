"""A residual convolutional backbone without normalisation: an encoder, and a decoder that mirrors it."""

from itertools import pairwise
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from rayology.config import Choice
from rayology.image import Grid
from rayology.models.backbones.base import Activation, BaseBackboneConfig, GridDecoder, GridEncoder, activate, padded
from rayology.primitives import PRIMITIVES

__all__ = ["ResNetConfig"]

COARSEST = 4  # an image is halved until a side is at most this long, or odd


class ResNetConfig(BaseBackboneConfig):
    """Residual blocks of two convolutions, 3 pixels a side, at every resolution below the image's own."""

    kind: Literal["resnet"] = "resnet"
    """Kind of backbone."""
    width: Annotated[int, Field(ge=8, le=512, multiple_of=8), Choice(8, 16, 32, 64)] = 16
    """Channels at the image's own resolution."""
    depth: Annotated[int, Field(ge=1, le=16), Choice(1, 2, 3)] = 1
    """Residual blocks at each resolution."""
    growth: Annotated[float, Field(ge=1, le=4), Choice(1.5, 2.0)] = 1.5
    """Factor on the channels each time the image is halved; 2 (2.8 for volumes) keeps every resolution's cost equal."""

    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to the coarsest grid."""
        return Encoder(self, image, activation)

    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from the coarsest grid to images."""
        return Decoder(self, image, activation)


class ResidualBlock(nn.Module):
    """Two convolutions added to an identity; the last starts at zero (Fixup; Zhang et al. 2019, section 3)."""

    def __init__(self, width: int, activation: Activation, *, axes: int) -> None:
        super().__init__()
        self.first = PRIMITIVES[axes].convolution(width, width, 3, padding=1)
        self.last = PRIMITIVES[axes].convolution(width, width, 3, padding=1)
        self.activation = activation
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Float[Tensor, "batch width *space"]) -> Float[Tensor, "batch width *space"]:
        """Return x plus the residual."""
        return x + self.last(activate(self.first(activate(x, self.activation)), self.activation))


class Encoder(GridEncoder):
    """Images to the coarsest grid."""

    def __init__(self, config: ResNetConfig, image: Grid, activation: Activation) -> None:
        grids = pyramid(config, image)
        super().__init__(out=grids[-1])
        axes = len(image.size)
        convolution, average_pool = PRIMITIVES[axes].convolution, PRIMITIVES[axes].average_pool
        levels: list[nn.Module] = [convolution(image.channels, grids[0].channels, 3, padding=1)]
        for finer, coarser in pairwise(grids):
            levels += [average_pool(2), convolution(finer.channels, coarser.channels, 1)]
            levels += [ResidualBlock(coarser.channels, activation, axes=axes) for _ in range(config.depth)]
        self.levels = nn.Sequential(*levels)
        self.activation = activation

    def features(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *coarse"]:
        """Return the features of padded images."""
        return activate(self.levels(images), self.activation)


class Decoder(GridDecoder):
    """The coarsest grid to images, through the encoder's resolutions in reverse."""

    def __init__(self, config: ResNetConfig, image: Grid, activation: Activation) -> None:
        grids = pyramid(config, image)
        axes = len(image.size)
        convolution, linear = PRIMITIVES[axes].convolution, PRIMITIVES[axes].linear
        levels: list[nn.Module] = []
        for coarser, finer in pairwise(reversed(grids)):
            levels += [ResidualBlock(coarser.channels, activation, axes=axes) for _ in range(config.depth)]
            # The convolution of single pixels commutes with the linear filter and costs a quarter before it.
            levels += [convolution(coarser.channels, finer.channels, 1), nn.Upsample(scale_factor=2, mode=linear)]
        head = convolution(grids[0].channels, image.channels, 3, padding=1)
        super().__init__(inp=grids[-1], head=head, size=image.size)
        self.levels = nn.Sequential(*levels)
        self.activation = activation

    def padded_images(self, coarse: Float[Tensor, "batch width *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images with their margins."""
        return self.head(activate(self.levels(coarse), self.activation))


def pyramid(config: ResNetConfig, image: Grid) -> tuple[Grid, ...]:
    """Return channels and size at each resolution, the finest and padded one first."""
    grids = [Grid(config.width, padded(image.size))]
    while min(grids[-1].size) > COARSEST and not any(side % 2 for side in grids[-1].size):
        width, size = grids[-1]
        grids.append(Grid(8 * round(config.growth * width / 8), tuple(side // 2 for side in size)))
    return tuple(grids)
