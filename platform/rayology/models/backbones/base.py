"""What every backbone provides: networks between an image and a coarser grid of features."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Config
from rayology.image import Grid

__all__ = [
    "Activation",
    "BaseBackboneConfig",
    "GridDecoder",
    "GridEncoder",
    "VectorDecoder",
    "activate",
    "cropped",
    "he_normal",
    "pad",
    "padded",
]

MULTIPLE = 8  # of which each side is one where networks work
LOWEST = -1.0  # the value with which preparation pads, in the range that models see
SLOPE = 0.2  # of a leaky rectifier, below zero
Activation = Literal["leaky_relu", "silu"]
GAINS = {
    "leaky_relu": math.sqrt(2 / (1 + SLOPE**2)),
    "silu": 1.677,
}  # one over the root mean square of what normal values become


class GridEncoder(nn.Module, ABC):
    """A network from images to features at each place of a coarse grid; it pads the images."""

    def __init__(self, *, out: Grid) -> None:
        super().__init__()
        self.out = out

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *coarse"]:
        """Return the features of each image, at each place of the coarsest grid."""
        return self.features(pad(images))

    @abstractmethod
    def features(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *coarse"]:
        """Return the features of padded images."""


class GridDecoder(nn.Module, ABC):
    """A network from features at each place of a coarse grid to images; it crops what it draws to their size."""

    def __init__(self, *, inp: Grid, head: nn.Conv2d | nn.Conv3d | nn.Linear, size: tuple[int, ...]) -> None:
        super().__init__()
        self.inp = inp
        self.head = head
        """The last layer, whose weight a model may start at zero."""
        self.size = size

    def forward(self, coarse: Float[Tensor, "batch width *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images that the features stand for."""
        return cropped(self.padded_images(coarse), self.size)

    @abstractmethod
    def padded_images(self, coarse: Float[Tensor, "batch width *coarse"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images with their margins."""


class BaseBackboneConfig(Config, ABC):
    """What the configs of all backbones have in common; the nonlinearity is the model's choice."""

    @abstractmethod
    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to the coarsest grid.

        Raises:
            ConfigError: images of this size do not fit the backbone.
        """

    @abstractmethod
    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from the coarsest grid to images; raise as ``encoder``."""

    def translator(self, inp: Grid, out: Grid, *, activation: Activation) -> nn.Module:
        """Build a network from images to images of the same size, through the coarsest grid; raise as ``encoder``."""
        return nn.Sequential(self.encoder(inp, activation=activation), self.decoder(out, activation=activation))


def padded(size: Sequence[int]) -> tuple[int, ...]:
    """Return the size at which networks work: each side padded to a multiple of 8, as it is halved several times.

    >>> padded((28, 64))
    (32, 64)
    """
    return tuple(side + sum(margin) for side, margin in zip(size, _margins(size), strict=True))


def pad(images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *padded"]:
    """Surround images, as evenly as it goes, by the lowest value."""
    margins = [length for margin in reversed(_margins(images.shape[2:])) for length in margin]
    return functional.pad(images, margins, value=LOWEST) if any(margins) else images


def cropped(
    images: Float[Tensor, "batch channel *padded"], size: tuple[int, ...]
) -> Float[Tensor, "batch channel *space"]:
    """Take off what ``pad`` puts around images of a size."""
    starts = [before for before, _ in _margins(size)]
    inside = [slice(start, start + side) for start, side in zip(starts, size, strict=True)]
    return images[:, :, *inside]


def _margins(size: Sequence[int]) -> list[tuple[int, int]]:
    """Return how many pixels are padded before and after each axis."""
    missing = [-side % MULTIPLE for side in size]
    return [(each // 2, each - each // 2) for each in missing]


class VectorDecoder(nn.Module):
    """A vector to images: a linear stem to the coarsest grid, then a decoder."""

    def __init__(self, inputs: int, network: GridDecoder) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, network.inp.num_values)
        self.network = network

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images that the inputs stand for."""
        return self.network(self.stem(inputs).unflatten(1, (-1, *self.network.inp.size)))


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Apply the nonlinearity, element by element."""
    match activation:
        case "leaky_relu":
            return functional.leaky_relu(x, SLOPE)
        case "silu":
            return functional.silu(x)


def he_normal(layer: nn.Conv2d | nn.Conv3d | nn.Linear, activation: Activation) -> None:
    """Draw weights that keep the size of what passes a nonlinearity and then a layer (He et al. 2015, eq. 15)."""
    nn.init.normal_(layer.weight, std=GAINS[activation] / math.sqrt(layer.weight[0].numel()))
