"""What convolutional backbones share: they halve an image level by level, and mirror that to draw one."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from rayology.config import Choice, Config
from rayology.image import Grid
from rayology.models.backbones.base import Activation, BaseBackboneConfig, GridDecoder, GridEncoder, activate, padded
from rayology.primitives import PRIMITIVES

__all__ = ["Activate", "LevelsConfig", "Norm", "PyramidConfig", "normalisation", "pyramid"]

GROUP = 8  # channels that are normalised together; widths are multiples of it
Norm = Literal["none", "group"]


class LevelsConfig(Config):
    """How often an image is halved, and how wide and deep a network is at each resolution."""

    width: Annotated[int, Field(ge=8, le=512, multiple_of=8), Choice(8, 16, 32, 64)] = 16
    """Channels at the image's own resolution."""
    depth: Annotated[int, Field(ge=1, le=16), Choice(1, 2, 3)] = 1
    """Layers, or blocks of them, at each resolution."""
    growth: Annotated[float, Field(ge=1, le=4), Choice(1.5, 2.0)] = 1.5
    """Factor on the channels each time the image is halved; 2 (2.8 for volumes) keeps every resolution's cost equal."""
    coarsest: Annotated[int, Field(ge=2, le=64), Choice(4, 8)] = 4
    """Pixels up to which the shortest side is halved, unless it gets odd before."""


class PyramidConfig(LevelsConfig, BaseBackboneConfig):
    """A stem at the image's resolution, then layers at every coarser one; a decoder mirrors it."""

    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to the coarsest grid."""
        return Encoder(self, image, activation)

    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from the coarsest grid to images."""
        return Decoder(self, image, activation)

    @abstractmethod
    def descent(self, finer: Grid, coarser: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return the layers of an encoder behind each halving: from the finer grid's channels to the coarser one's."""

    @abstractmethod
    def ascent(self, coarser: Grid, finer: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return the layers of a decoder before each doubling: from the coarser grid's channels to the finer one's."""


class Encoder(GridEncoder):
    """Images to the coarsest grid."""

    def __init__(self, config: PyramidConfig, image: Grid, activation: Activation) -> None:
        grids = pyramid(config, image)
        super().__init__(out=grids[-1])
        primitives = PRIMITIVES[len(image.size)]
        levels: list[nn.Module] = [primitives.convolution(image.channels, grids[0].channels, 3, padding=1)]
        for finer, coarser in pairwise(grids):
            levels += [primitives.average_pool(2), *config.descent(finer, coarser, activation)]
        self.levels = nn.Sequential(*levels)
        self.activation = activation

    def features(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *coarse"]:
        """Return the features of padded images."""
        return activate(self.levels(images), self.activation)


class Decoder(GridDecoder):
    """The coarsest grid to images, through the encoder's resolutions in reverse."""

    def __init__(self, config: PyramidConfig, image: Grid, activation: Activation) -> None:
        grids = pyramid(config, image)
        primitives = PRIMITIVES[len(image.size)]
        levels: list[nn.Module] = []
        for coarser, finer in pairwise(reversed(grids)):
            levels += [
                *config.ascent(coarser, finer, activation),
                nn.Upsample(scale_factor=2, mode=primitives.linear),
            ]
        head = primitives.convolution(grids[0].channels, image.channels, 3, padding=1)
        super().__init__(inp=grids[-1], head=head, size=image.size)
        self.levels = nn.Sequential(*levels)
        self.activation = activation

    def padded_images(self, coarse: Float[Tensor, "batch width *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images with their margins."""
        return self.head(activate(self.levels(coarse), self.activation))


class Activate(nn.Module):
    """The nonlinearity as a layer."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply it, element by element."""
        return activate(x, self.activation)


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Return a layer that normalises groups of 8 channels of each image (Wu & He 2018), or one that does nothing."""
    return nn.GroupNorm(channels // GROUP, channels) if norm == "group" else nn.Identity()


def pyramid(config: LevelsConfig, image: Grid) -> tuple[Grid, ...]:
    """Return channels and size at each resolution, the finest and padded one first."""
    grids = [Grid(config.width, padded(image.size))]
    while min(grids[-1].size) > config.coarsest and not any(side % 2 for side in grids[-1].size):
        width, size = grids[-1]
        grids.append(Grid(8 * round(config.growth * width / 8), tuple(side // 2 for side in size)))
    return tuple(grids)
