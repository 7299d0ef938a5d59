"""A U-Net: from one image to another, with shortcuts at every resolution (Ronneberger et al. 2015)."""

from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayology.image import Grid
from rayology.models.backbones.base import Activation, activate, cropped, pad
from rayology.models.backbones.pyramid import LevelsConfig, pyramid
from rayology.models.backbones.resnet import ResNetConfig
from rayology.primitives import PRIMITIVES

__all__ = ["Unet", "UnetConfig", "UnetFeatures"]


class UnetConfig(LevelsConfig):
    """Residual blocks at every resolution below the image's own, down and up again.

    It is not an autoencoder's backbone: its shortcuts would carry the image past the latents.
    """

    kind: Literal["unet"] = "unet"
    """Kind of backbone."""

    def translator(self, inp: Grid, out: Grid, *, activation: Activation) -> "Unet":
        """Build the network from images to images of the same size."""
        return Unet(self, inp, out, activation)


class UnetFeatures(nn.Module):
    """Images to features at the coarsest grid, and from there to features at each pixel of the padded images."""

    def __init__(self, config: UnetConfig, image: Grid, activation: Activation) -> None:
        super().__init__()
        grids = pyramid(config, image)
        self.coarse, self.fine = grids[-1], grids[0]
        self.activation = activation
        primitives = PRIMITIVES[len(image.size)]
        residual = ResNetConfig.model_validate(config.model_dump(exclude={"kind"}))
        self.stem = primitives.convolution(image.channels, self.fine.channels, 3, padding=1)
        self.descents, self.ascents, self.joints = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for finer, coarser in pairwise(grids):
            self.descents.append(
                nn.Sequential(primitives.average_pool(2), *residual.descent(finer, coarser, activation))
            )
        for coarser, finer in pairwise(reversed(grids)):
            doubling = nn.Upsample(scale_factor=2, mode=primitives.linear)
            self.ascents.append(nn.Sequential(*residual.ascent(coarser, finer, activation), doubling))
            self.joints.append(primitives.convolution(2 * finer.channels, finer.channels, 3, padding=1))

    def forward(
        self, images: Float[Tensor, "batch channel *space"]
    ) -> tuple[Float[Tensor, "batch width *coarse"], Float[Tensor, "batch fine *padded"]]:
        """Return the features at the coarsest grid, and at each pixel."""
        x = self.stem(pad(images))
        passed = []
        for descent in self.descents:
            passed.append(x)
            x = descent(x)
        coarse = activate(x, self.activation)
        for ascent, joint in zip(self.ascents, self.joints, strict=True):
            x = joint(activate(torch.cat([ascent(x), passed.pop()], dim=1), self.activation))
        return coarse, activate(x, self.activation)


class Unet(nn.Module):
    """Images to images of the same size."""

    def __init__(self, config: UnetConfig, inp: Grid, out: Grid, activation: Activation) -> None:
        super().__init__()
        self.features = UnetFeatures(config, inp, activation)
        convolution = PRIMITIVES[len(inp.size)].convolution
        self.head = convolution(self.features.fine.channels, out.channels, 3, padding=1)
        self.size = out.size

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch out *space"]:
        """Return what the images become."""
        _, fine = self.features(images)
        return cropped(self.head(fine), self.size)
