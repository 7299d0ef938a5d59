"""A residual convolutional backbone without normalisation (He et al. 2016; Zhang et al. 2019)."""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from rayology.image import Grid
from rayology.models.backbones.base import Activation, activate
from rayology.models.backbones.pyramid import PyramidConfig
from rayology.primitives import PRIMITIVES

__all__ = ["ResNetConfig", "ResidualBlock"]


class ResNetConfig(PyramidConfig):
    """Residual blocks of two convolutions, 3 pixels a side, at every resolution below the image's own."""

    kind: Literal["resnet"] = "resnet"
    """Kind of backbone."""

    def descent(self, finer: Grid, coarser: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return a convolution of single pixels, then the blocks."""
        convolution = PRIMITIVES[len(finer.size)].convolution
        return [convolution(finer.channels, coarser.channels, 1), *self._blocks(coarser, activation)]

    def ascent(self, coarser: Grid, finer: Grid, activation: Activation) -> Sequence[nn.Module]:
        """Return the blocks, then a convolution of single pixels.

        It commutes with the linear filter that follows, and costs a quarter before it.
        """
        convolution = PRIMITIVES[len(finer.size)].convolution
        return [*self._blocks(coarser, activation), convolution(coarser.channels, finer.channels, 1)]

    def _blocks(self, grid: Grid, activation: Activation) -> list[nn.Module]:
        return [ResidualBlock(grid, activation) for _ in range(self.depth)]


class ResidualBlock(nn.Module):
    """Two convolutions added to an identity; the last starts at zero (Fixup; Zhang et al. 2019, section 3)."""

    def __init__(self, grid: Grid, activation: Activation) -> None:
        super().__init__()
        convolution = PRIMITIVES[len(grid.size)].convolution
        self.first = convolution(grid.channels, grid.channels, 3, padding=1)
        self.last = convolution(grid.channels, grid.channels, 3, padding=1)
        self.activation = activation
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Float[Tensor, "batch width *space"]) -> Float[Tensor, "batch width *space"]:
        """Return x plus the residual."""
        return x + self.last(activate(self.first(activate(x, self.activation)), self.activation))
