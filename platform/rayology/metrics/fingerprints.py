"""What makes an image this very image: the fingerprint by which copies are found."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from jaxtyping import Float
from torch import Tensor

from rayology.primitives import PRIMITIVES

__all__ = ["fingerprints"]

FINE, COARSE = 0.7, 2.0  # standard deviations of the band's two Gaussians, in pixels
LONGEST_SIDE = 64


def fingerprints(images: Float[Tensor, "image channel *space"]) -> Float[Tensor, "image pixel"]:
    """Return each image's middle detail, scaled to length 1: the inner product of two is their similarity.

    A difference of Gaussians (Marr & Hildreth 1980) leaves out the finest detail, where noise and rounding lie, and
    the coarse shape, which all images of a body part share and which is all that a blurry image has. Scaling to length
    1 leaves out contrast: in plain pixel distance a mean-like image lies nearer to everything than a sharp one does.
    """
    space = images.shape[2:]
    shrink = max(1.0, max(space) / LONGEST_SIDE)
    images = F.interpolate(images, size=[round(side / shrink) for side in space], mode="area")
    band = _blurred(images, FINE) - _blurred(images, COARSE)
    return F.normalize(band.flatten(start_dim=1), eps=1e-6)


def _blurred(images: Float[Tensor, "image channel *space"], std: float) -> Float[Tensor, "image channel *space"]:
    radius = round(3 * std)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / std) ** 2)
    channels, num_axes = images.shape[1], images.ndim - 2
    kernel = (kernel / kernel.sum()).expand(channels, *[1] * num_axes, -1)
    for place in range(num_axes):  # counted from the last axis, as margins are
        margin = [radius if at // 2 == place else 0 for at in range(2 * num_axes)]
        along = kernel.transpose(-1, -1 - place)
        images = PRIMITIVES[num_axes].convolve(F.pad(images, margin, mode="replicate"), along, groups=channels)
    return images
