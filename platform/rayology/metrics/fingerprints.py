"""What makes an image this very image: the fingerprint by which copies are found."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from jaxtyping import Float
from torch import Tensor

__all__ = ["fingerprints"]

FINE, COARSE = 0.7, 2.0  # standard deviations of the band's two Gaussians, in pixels
LONGEST_SIDE = 64


def fingerprints(images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image pixel"]:
    """Return each image's middle detail, scaled to length 1: the inner product of two is their likeness.

    A difference of Gaussians (Marr & Hildreth 1980) leaves out the finest detail, where noise and rounding lie, and
    the coarse shape, which all images of a body part share and which is all that a blurry image has. Scaling to length
    1 leaves out contrast: in plain pixel distance a mean-like image lies nearer to everything than a sharp one does.
    """
    height, width = images.shape[2:]
    shrink = max(1.0, max(height, width) / LONGEST_SIDE)
    images = F.adaptive_avg_pool2d(images, (round(height / shrink), round(width / shrink)))
    band = _blurred(images, FINE) - _blurred(images, COARSE)
    return F.normalize(band.flatten(start_dim=1), eps=1e-6)


def _blurred(
    images: Float[Tensor, "image channel height width"], std: float
) -> Float[Tensor, "image channel height width"]:
    radius = round(3 * std)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / std) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    for weight in (kernel, kernel.transpose(2, 3)):
        margin = (radius, radius, 0, 0) if weight.shape[3] > 1 else (0, 0, radius, radius)
        images = F.conv2d(F.pad(images, margin, mode="replicate"), weight, groups=images.shape[1])
    return images
