"""What every backbone provides: networks between an image and its coarsest grid."""

from abc import ABC, abstractmethod
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Config
from rayology.image import Grid

__all__ = ["Activation", "BaseBackboneConfig", "GridDecoder", "GridEncoder", "VectorDecoder", "activate"]

Activation = Literal["leaky_relu", "silu"]


class GridEncoder(nn.Module):
    """A network from images to features at each place of a coarse grid."""

    def __init__(self, *, out: Grid) -> None:
        super().__init__()
        self.out = out


class GridDecoder(nn.Module):
    """A network from features at each place of a coarse grid to images."""

    def __init__(self, *, inp: Grid, head: nn.Conv2d | nn.Conv3d | nn.Linear) -> None:
        super().__init__()
        self.inp = inp
        self.head = head
        """The last layer, whose weight a model may start at zero."""


class BaseBackboneConfig(Config, ABC):
    """What the configs of all backbones have in common; the nonlinearity is the model's choice."""

    @abstractmethod
    def encoder(self, image: Grid, *, activation: Activation) -> GridEncoder:
        """Build the network from images to the coarsest grid."""

    @abstractmethod
    def decoder(self, image: Grid, *, activation: Activation) -> GridDecoder:
        """Build the network from the coarsest grid to images."""


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
            return functional.leaky_relu(x, 0.2)
        case "silu":
            return functional.silu(x)
