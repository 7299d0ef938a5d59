"""Plain stacks of convolutions, with group in place of batch normalisation (Simonyan & Zisserman 2015)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from torch import nn

from rayology.config import Choice
from rayology.image import Grid
from rayology.models.backbones.base import Activation, he_normal
from rayology.models.backbones.pyramid import Activate, Norm, PyramidConfig, normalisation
from rayology.primitives import PRIMITIVES

__all__ = ["VggConfig"]


class VggConfig(PyramidConfig):
    """VGG's arrangement: convolutions, 3 pixels a side, one after the other, without shortcuts."""

    kind: Literal["vgg"] = "vgg"
    """Kind of backbone."""
    norm: Annotated[Norm, Choice("none", "group")] = "group"
    """Normalisation before each nonlinearity: of groups of 8 channels of each image, or none."""

    def descent(self, finer: Grid, coarser: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return the convolutions, the first of which changes the channels."""
        return self._stack([finer.channels, *[coarser.channels] * self.depth], activation, axes=len(finer.size))

    def ascent(self, coarser: Grid, finer: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return the convolutions, the last of which changes the channels."""
        return self._stack([*[coarser.channels] * self.depth, finer.channels], activation, axes=len(finer.size))

    def _stack(self, channels: Sequence[int], activation: Activation, *, axes: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            convolution = PRIMITIVES[axes].convolution(before, after, 3, padding=1)
            he_normal(convolution, activation)
            layers += [normalisation(self.norm, before), Activate(activation), convolution]
        return layers
