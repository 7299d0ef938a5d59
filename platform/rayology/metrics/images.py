"""Images and what is measured of each of them once: features, spectrum, grey values, fingerprint."""

import math
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rayology.errors import DataError
from rayology.metrics.features import FeatureScale, random_features
from rayology.metrics.fingerprints import fingerprints
from rayology.metrics.histogram import grey_shares
from rayology.metrics.spectrum import radial_power

__all__ = ["MOST_COMPARED", "ImageSet", "Images", "Reference"]

Images = Float[Tensor, "batch channel height width"]

MOST_COMPARED = 2048  # bounds the kernel matrices at 32 MiB each
AT_ONCE = 256


class ImageSet:
    """Images, clipped to [-1, 1] and shuffled by a fixed seed, so that the first n are a fair draw for every n."""

    def __init__(self, images: Images, *, name: str) -> None:
        _require_images(images, name)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(len(images)))
        self.images = images[order.to(images.device)].detach().float().clip(-1.0, 1.0)

    def __len__(self) -> int:
        """How many images at most are compared."""
        return min(len(self.images), MOST_COMPARED)

    @cached_property
    def features(self) -> Float[Tensor, "image feature"]:
        """The features of a random network, as they come."""
        return random_features(self.images[: len(self)])

    @cached_property
    def spectra(self) -> Float[Tensor, "image channel ring"]:
        """The power in each ring of equal frequency."""
        return radial_power(self.images[: len(self)])

    @cached_property
    def grey_shares(self) -> Float[Tensor, "image channel bin"]:
        """The share of pixels in each bin of grey values."""
        return grey_shares(self.images[: len(self)])

    @cached_property
    def fingerprints(self) -> Float[Tensor, "image pixel"]:
        """The fingerprints of all images, however many."""
        return fingerprints(self.images)


class Reference:
    """The real images that samples are held against; prepare it once, what is measured of it is kept.

    ``real`` are images that the model never saw, ``train`` those it learned from. What is "as good as real" is read
    from training images in the place of samples: no model of the training images can be expected to do better.
    """

    def __init__(
        self, real: Images, train: Float[Tensor, "train channel height width"], *, patient_safe: bool = True
    ) -> None:
        self._patient_safe = patient_safe
        self.real = ImageSet(real, name="real images")
        self.train = ImageSet(train, name="training images")

    @cached_property
    def scale(self) -> FeatureScale:
        """The scale of features, set by the real images."""
        return FeatureScale.of(self.real.features)

    @cached_property
    def copy_distance(self) -> float:
        """The distance to the nearest training image that 95 % of the real images keep.

        Where one patient is held out in blocks, every unseen slice lies farther from the training slices than an honest
        sample of a trained place does. There it is the distance that 95 % of the training images keep to each other.
        """
        if self._patient_safe:
            return float(self.nearest_training(self.real).quantile(0.05))
        likeness = self.train.fingerprints @ self.train.fingerprints.T
        return float((1.0 - likeness.fill_diagonal_(-1.0).amax(dim=1)).quantile(0.05))

    def nearest_training(self, images: ImageSet) -> Float[Tensor, " image"]:
        """Return the cosine distance of each fingerprint to that of the nearest training image."""
        parts = images.fingerprints.chunk(math.ceil(len(images.images) / AT_ONCE))
        return 1.0 - torch.cat([(part @ self.train.fingerprints.T).amax(dim=1) for part in parts])


def _require_images(images: Images, name: str) -> None:
    if len(images) < 2:
        raise DataError(f"{name}: found {len(images)}, a comparison of distributions needs at least 2")
    if min(images.shape[2:]) < 16:
        raise DataError(f"{name} have {images.shape[2]} rows and {images.shape[3]} columns; give at least 16 of each")
