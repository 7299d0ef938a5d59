"""Densely connected convolutions, with group in place of batch normalisation (Huang et al. 2017)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from rayology.config import Choice
from rayology.image import Grid
from rayology.models.backbones.base import Activation, activate, he_normal
from rayology.models.backbones.pyramid import Norm, PyramidConfig, normalisation
from rayology.primitives import PRIMITIVES

__all__ = ["DenseNetConfig"]


class DenseNetConfig(PyramidConfig):
    """Convolutions, 3 pixels a side, that each see all channels of their resolution and add some."""

    kind: Literal["densenet"] = "densenet"
    """Kind of backbone."""
    added: Annotated[int, Field(ge=8, le=256, multiple_of=8), Choice(8, 16, 32)] = 16
    """Channels that each convolution adds (the growth rate of the paper)."""
    norm: Annotated[Norm, Choice("none", "group")] = "group"
    """Normalisation before each nonlinearity: of groups of 8 channels of each image, or none."""

    def descent(self, finer: Grid, coarser: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return a dense block, and a convolution of single pixels to the coarser grid's channels."""
        return self._block(finer.channels, coarser.channels, activation, axes=len(finer.size))

    def ascent(self, coarser: Grid, finer: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return a dense block, and a convolution of single pixels to the finer grid's channels."""
        return self._block(coarser.channels, finer.channels, activation, axes=len(finer.size))

    def _block(self, inputs: int, outputs: int, activation: Activation, *, axes: int) -> list[nn.Module]:
        channels = [inputs + self.added * index for index in range(self.depth + 1)]
        layers = [DenseLayer(width, self.added, self.norm, activation, axes=axes) for width in channels[:-1]]
        return [*layers, PRIMITIVES[axes].convolution(channels[-1], outputs, 1)]


class DenseLayer(nn.Module):
    """A convolution whose channels are added to those that it sees."""

    def __init__(self, inputs: int, added: int, norm: Norm, activation: Activation, *, axes: int) -> None:
        super().__init__()
        self.norm = normalisation(norm, inputs)
        self.convolution = PRIMITIVES[axes].convolution(inputs, added, 3, padding=1)
        self.activation = activation
        he_normal(self.convolution, activation)

    def forward(self, x: Float[Tensor, "batch inputs *space"]) -> Float[Tensor, "batch outputs *space"]:
        """Return what it sees, then what it adds."""
        return torch.cat([x, self.convolution(activate(self.norm(x), self.activation))], dim=1)
