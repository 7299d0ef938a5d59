"""What a model must beat: reconstructions that need no training to speak of."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayology.image import VALUES_AT_ONCE, num_at_once

__all__ = ["nearest_images", "pca_reconstructions"]

Images = Float[Tensor, "batch channel *space"]
TrainImages = Float[Tensor, "train channel *space"]

MOST_DECOMPOSED = 4096  # bounds the decomposition: 64 MiB of training images of 64x64, 1 GiB of 256x256


def pca_reconstructions(train: TrainImages, images: Images, *, components: int) -> Images:
    """Project images onto the first principal components of the training images and back (Pearson 1901).

    Of more than 4,096 training images every second, third and so on is taken, so that at most 4,096 remain.
    """
    chosen = train[:: math.ceil(len(train) / MOST_DECOMPOSED)]
    mean = chosen.mean(dim=0, keepdim=True)
    _, _, directions = torch.linalg.svd((chosen - mean).flatten(1), full_matrices=False)
    kept = directions[:components]
    return ((images - mean).flatten(1) @ kept.T @ kept).view_as(images) + mean


def nearest_images(train: TrainImages, images: Images, values_at_once: int = VALUES_AT_ONCE) -> Images:
    """Return, for each image, the training image with the least squared difference."""
    at_once = num_at_once(values_at_once, train.shape[1:])
    return train[torch.cat([_nearest(train, part, at_once) for part in images.flatten(1).split(at_once)])]


def _nearest(train: TrainImages, pixels: Float[Tensor, "image pixel"], at_once: int) -> Int[Tensor, " image"]:
    """Look through the training images in parts: all distances at once may be gigabytes."""
    least = torch.full((len(pixels),), math.inf, device=pixels.device)
    place = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
    for start in range(0, len(train), at_once):
        found = torch.cdist(pixels, train[start : start + at_once].flatten(1)).min(dim=1)
        place = torch.where(found.values < least, start + found.indices, place)
        least = least.minimum(found.values)
    return place
