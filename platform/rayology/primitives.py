"""What torch offers under one name for images of rows and columns and another for volumes, which have slices too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PRIMITIVES", "Primitives"]


@dataclass(frozen=True)
class Primitives:
    """What networks and filters of such images are made of."""

    convolution: type[nn.Conv2d | nn.Conv3d]
    average_pool: type[nn.AvgPool2d | nn.AvgPool3d]
    max_pool: type[nn.MaxPool2d | nn.MaxPool3d]
    adaptive_max_pool: type[nn.AdaptiveMaxPool2d | nn.AdaptiveMaxPool3d]
    convolve: Callable[..., Tensor]
    """Convolution of images, given weights and, optionally, biases."""
    linear: Literal["bilinear", "trilinear"]
    """The mode in which linear interpolation is asked for."""
    channels_last: torch.memory_format


PRIMITIVES: Mapping[int, Primitives] = {
    2: Primitives(
        convolution=nn.Conv2d,
        average_pool=nn.AvgPool2d,
        max_pool=nn.MaxPool2d,
        adaptive_max_pool=nn.AdaptiveMaxPool2d,
        convolve=functional.conv2d,
        linear="bilinear",
        channels_last=torch.channels_last,
    ),
    3: Primitives(
        convolution=nn.Conv3d,
        average_pool=nn.AvgPool3d,
        max_pool=nn.MaxPool3d,
        adaptive_max_pool=nn.AdaptiveMaxPool3d,
        convolve=functional.conv3d,
        linear="trilinear",
        channels_last=torch.channels_last_3d,
    ),
}
"""By the number of an image's axes."""
