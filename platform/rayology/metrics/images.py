"""Images and what is measured of each of them once: features, spectrum, grey values, fingerprint."""

from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayology.errors import DataError
from rayology.image import VALUES_AT_ONCE, num_at_once
from rayology.metrics.features import FeatureScale, random_features
from rayology.metrics.fingerprints import fingerprints
from rayology.metrics.histogram import grey_shares
from rayology.metrics.spectrum import radial_power

__all__ = ["MOST_COMPARED", "ImageSet", "Images", "Reference"]

Images = Float[Tensor, "batch channel *space"]

MOST_COMPARED = 2048  # bounds the kernel matrices at 32 MiB each


class ImageSet:
    """At most 2,048 of the images, clipped to [-1, 1] and drawn in a fixed order: the first n are a fair draw.

    The others are neither copied nor measured.
    """

    def __init__(self, images: Images, *, name: str, values_at_once: int = VALUES_AT_ONCE) -> None:
        _require_images(images, name)
        self._values_at_once = values_at_once
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(len(images)))
        self.places = order[:MOST_COMPARED].to(images.device)
        """Where each image stood among those given."""
        self.images = images[self.places].detach().float().clip(-1.0, 1.0)

    def __len__(self) -> int:
        """How many images at most are compared."""
        return len(self.images)

    @cached_property
    def features(self) -> Float[Tensor, "image feature"]:
        """The features of a random network, as they come."""
        return random_features(self.images, self._values_at_once)

    @cached_property
    def spectra(self) -> Float[Tensor, "image channel ring"]:
        """The power in each ring of equal frequency."""
        return radial_power(self.images, self._values_at_once)

    @cached_property
    def grey_shares(self) -> Float[Tensor, "image channel bin"]:
        """The share of pixels in each bin of grey values."""
        return self._in_parts(grey_shares)

    @cached_property
    def fingerprints(self) -> Float[Tensor, "image pixel"]:
        """The fingerprints that tell copies."""
        return self._in_parts(fingerprints)

    def _in_parts(self, measure: Callable[[Images], Tensor]) -> Tensor:
        at_once = num_at_once(self._values_at_once, self.images.shape[1:])
        return torch.cat([measure(part) for part in self.images.split(at_once)])


class Reference:
    """The real images that samples are held against; prepare it once, what is measured of it is kept.

    ``real`` are images that the model never saw, ``train`` those it learned from. What is "as good as real" is read
    from training images in the place of samples: no model of the training images can be expected to do better.

    Distributions are compared on at most 2,048 images of either; copies are sought among all training images, which
    stay where they are and are read in parts.
    """

    def __init__(
        self,
        real: Images,
        train: Float[Tensor, "train channel *space"],
        *,
        patient_safe: bool = True,
        values_at_once: int = VALUES_AT_ONCE,
    ) -> None:
        self._patient_safe = patient_safe
        self.values_at_once = values_at_once
        self.real = ImageSet(real, name="real images", values_at_once=values_at_once)
        self.train = ImageSet(train, name="training images", values_at_once=values_at_once)
        self._all_train = train.detach()

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
            return float(self.nearest_of_real.quantile(0.05))
        return float(self._nearest_training(self.train, own_places=self.train.places).quantile(0.05))

    @cached_property
    def nearest_of_real(self) -> Float[Tensor, " image"]:
        """The cosine distance of each real image's fingerprint to that of the nearest training image."""
        return self.nearest_training(self.real)

    def nearest_training(self, images: ImageSet) -> Float[Tensor, " image"]:
        """Return the cosine distance of each fingerprint to that of the nearest training image."""
        nowhere = torch.full((len(images),), -1, device=images.images.device)
        return self._nearest_training(images, own_places=nowhere)

    def _nearest_training(self, images: ImageSet, *, own_places: Int[Tensor, " image"]) -> Float[Tensor, " image"]:
        """Look through the training images in parts; an image is not compared with that at its own place, if any."""
        sought = images.fingerprints
        similarity = torch.full((len(images),), -1.0, device=sought.device)
        at_once = num_at_once(self.values_at_once, self._all_train.shape[1:])
        for start in range(0, len(self._all_train), at_once):
            part = self._all_train[start : start + at_once].to(sought.device).float().clip(-1.0, 1.0)
            places = torch.arange(start, start + len(part), device=sought.device)
            found = (sought @ fingerprints(part).T).masked_fill(own_places[:, None] == places, -1.0)
            similarity = similarity.maximum(found.amax(dim=1))
        return 1.0 - similarity


def _require_images(images: Images, name: str) -> None:
    if len(images) < 2:
        raise DataError(f"{name}: found {len(images)}, a comparison of distributions needs at least 2")
    if min(images.shape[2:]) < 16:
        raise DataError(
            f"{name} measure {'x'.join(map(str, images.shape[2:]))} pixels; give at least 16 along each axis"
        )
