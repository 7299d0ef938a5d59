"""What a model must beat: reconstructions that need no training to speak of."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["nearest_images", "pca_reconstructions"]

Images = Float[Tensor, "batch channel height width"]


def pca_reconstructions(train: Images, images: Images, *, components: int) -> Images:
    """Project images onto the first principal components of the training images and back (Pearson 1901)."""
    mean = train.mean(dim=0, keepdim=True)
    _, _, directions = torch.linalg.svd((train - mean).flatten(1), full_matrices=False)
    kept = directions[:components]
    return ((images - mean).flatten(1) @ kept.T @ kept).view_as(images) + mean


def nearest_images(train: Images, images: Images) -> Images:
    """Return, for each image, the training image with the least squared difference."""
    return train[torch.cdist(images.flatten(1), train.flatten(1)).argmin(dim=1)]
