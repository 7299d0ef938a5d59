"""Weighted means around each pixel."""

import torch
from jaxtyping import Float
from torch import Tensor

from rayology.primitives import PRIMITIVES

__all__ = ["along_each_axis", "gaussian"]


def gaussian(std: float, *, radius: int) -> Float[Tensor, " offset"]:
    """Return the weights of a Gaussian window that ends ``radius`` pixels from its centre; they add up to 1."""
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / std) ** 2)
    return weights / weights.sum()


def along_each_axis(
    images: Float[Tensor, "image channel *space"], weights: Float[Tensor, " offset"]
) -> Float[Tensor, "image channel *inside"]:
    """Weigh the neighbours along one axis after the other, around each pixel whose window lies inside the image."""
    channels, num_axes = images.shape[1], images.ndim - 2
    kernel = weights.expand(channels, *[1] * num_axes, -1)
    for place in range(num_axes):  # counted from the last axis
        images = PRIMITIVES[num_axes].convolve(images, kernel.transpose(-1, -1 - place), groups=channels)
    return images
