"""What makes an image this very image: the fingerprint by which copies are found."""

import torch.nn.functional as F  # noqa: N812 (torch's own documentation calls it F)
from jaxtyping import Float
from torch import Tensor

from rayology.metrics.blur import along_each_axis, gaussian

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
    margins = [radius] * 2 * (images.ndim - 2)
    return along_each_axis(F.pad(images, margins, mode="replicate"), gaussian(std, radius=radius).to(images))
