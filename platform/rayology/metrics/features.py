"""Image features without downloaded weights: a random convolutional network, the same on every machine."""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from jaxtyping import Float
from torch import Tensor

from rayology.image import VALUES_AT_ONCE, num_at_once
from rayology.primitives import PRIMITIVES

__all__ = ["FeatureScale", "random_features"]

SEED = 0
WIDTHS = (16, 32)  # the finest two scales cost most; all coarser ones have
COARSE_WIDTH = 64
SMALLEST_SIDE = 4
COPIES = 32  # so that the activations of 8 images of 64x64 stay in a processor's cache; more are slower


def random_features(
    images: Float[Tensor, "image channel *space"], values_at_once: int = VALUES_AT_ONCE
) -> Float[Tensor, "image feature"]:
    """Return mean and standard deviation over the pixels of every channel at every scale, down to 4 pixels.

    Each scale is a convolution, 3 pixels a side, the absolute value, and a halving of the size. Random filters keep
    enough of the image for a kernel on them to tell distributions apart (Naeem et al. 2020). Every other filter sums to
    zero: it sees edges and texture alone, whatever the brightness.
    """
    filters = [(weight.to(images.device), bias.to(images.device)) for weight, bias in _filters(images.shape)]
    num_parts = math.ceil(len(images) / num_at_once(values_at_once, images.shape[1:], copies=COPIES))
    return torch.cat([_pooled(part, filters) for part in images.chunk(num_parts)])


def _pooled(
    images: Float[Tensor, "image channel *space"], filters: list[tuple[Tensor, Tensor]]
) -> Float[Tensor, "image feature"]:
    space = tuple(range(2, images.ndim))
    convolve, halve = PRIMITIVES[len(space)].convolve, PRIMITIVES[len(space)].average_pool(2)
    pooled = []
    for weight, bias in filters:
        images = convolve(F.pad(images, (1, 1) * len(space), mode="reflect"), weight, bias).abs()
        mean = images.mean(dim=space, keepdim=True)
        std = (images - mean).square().mean(dim=space).sqrt()  # torch.std_mean takes eight times as long
        pooled += [mean.flatten(start_dim=1), std]
        images = halve(images)
    return torch.cat(pooled, dim=1)


def _filters(shape: torch.Size) -> list[tuple[Tensor, Tensor]]:
    """Draw weights and biases; uniform numbers are exact on every machine, normal ones differ in their last bits."""
    generator = torch.Generator().manual_seed(SEED)
    num_axes = len(shape) - 2
    num_scales = int(math.log2(min(shape[2:]) / SMALLEST_SIDE)) + 1
    widths = [shape[1], *WIDTHS, *[COARSE_WIDTH] * num_scales][: num_scales + 1]

    filters = []
    for channels, width in itertools.pairwise(widths):
        weight = torch.rand(width, channels, *[3] * num_axes, generator=generator) * 2 - 1
        weight[::2] -= weight[::2].mean(dim=tuple(range(2, weight.ndim)), keepdim=True)
        bias = torch.rand(width, generator=generator) - 0.5
        filters.append((weight * math.sqrt(6 / (channels * 3**num_axes)), bias))
    return filters


@dataclass(frozen=True)
class FeatureScale:
    """The scale that real images set: features standardised, then half whitened."""

    mean: Float[Tensor, " feature"]
    matrix: Float[Tensor, "feature scaled"]

    @classmethod
    def of(cls, real: Float[Tensor, "image feature"]) -> "FeatureScale":
        """Divide by standard deviations and multiply by (correlation + 1)^(-1/4), both of the real images.

        Many features say the same: brightness and contrast alone would decide. On 200 CT slices and 200 X-rays this
        damping more than doubles how clearly blur and noise stand out of chance; full whitening, which lifts the noise
        of an estimate from few images, loses sight of a missing class. A feature that hardly varies between real
        images counts as if it varied a hundredth as much as the median one.
        """
        real = real.double()
        mean, spread = real.mean(dim=0), real.std(dim=0)
        spread = spread.clamp(min=max(0.01 * float(spread.median()), 1e-6))
        standardised = (real - mean) / spread

        variances, axes = torch.linalg.eigh(standardised.T @ standardised / (len(real) - 1))
        return cls(mean, axes * (variances.clamp(min=0.0) + 1.0) ** -0.25 / spread[:, None])

    def __call__(self, features: Float[Tensor, "image feature"]) -> Float[Tensor, "image scaled"]:
        """Scale features, in float64."""
        return (features.double() - self.mean) @ self.matrix
