"""Where a VAE draws the latents of new images from."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from rayology.config import Choice, Config
from rayology.image import ImageSpec
from rayology.noise import Noise, NoiseSpec

__all__ = ["NormalConfig", "Posterior", "Prior", "PriorConfig", "VampConfig", "log_normal"]

START_STD = 0.5  # of a pseudo-input's pixels, before they are squeezed into [-1, 1]
SPEED = 10.0  # Adam moves a parameter by about lr a step; pixels have further to go

Moments = tuple[Tensor, Tensor]
"""Mean and log standard deviation of normal latents, each (batch, latents)."""


@dataclass(frozen=True)
class Posterior:
    """An encoder: what it makes of images, and the latents that it reads from that for a class."""

    features: Callable[[Tensor], Tensor]
    moments: Callable[[Tensor, Tensor], Moments]

    def __call__(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Moments:
        """Return the moments of the latents of images."""
        return self.moments(self.features(images), labels)


class Prior(nn.Module, ABC):
    """A distribution of latents."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.latents = latents

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``sample`` takes."""
        return {"latent": NoiseSpec((self.latents,))}

    @abstractmethod
    def sample(self, noise: Noise, labels: Int[Tensor, " batch"], posterior: Posterior) -> Tensor:
        """Turn noise into latents."""

    @abstractmethod
    def log_prob(
        self, latents: Float[Tensor, "batch particle latent"], labels: Int[Tensor, " batch"], posterior: Posterior
    ) -> Float[Tensor, "batch particle"]:
        """Return the log density of latents, in nats."""

    def rate(
        self,
        moments: Moments,
        latents: Float[Tensor, "batch latent"],
        labels: Int[Tensor, " batch"],
        posterior: Posterior,
    ) -> Float[Tensor, " batch"]:
        """Return the KL divergence of normal latents from the prior in nats, estimated from one draw of each."""
        drawn = latents[:, None]
        return (log_normal(drawn, moments) - self.log_prob(drawn, labels, posterior))[:, 0]


class NormalConfig(Config):
    """The standard normal distribution."""

    kind: Literal["normal"] = "normal"
    """Kind of prior."""

    def build(self, image: ImageSpec, *, latents: int, num_classes: int) -> Prior:
        """Build it."""
        del image, num_classes
        return StandardNormal(latents)


class StandardNormal(Prior):
    """The standard normal distribution."""

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"], posterior: Posterior) -> Tensor:
        """Return the noise."""
        del labels, posterior
        return noise["latent"]

    def log_prob(
        self, latents: Float[Tensor, "batch particle latent"], labels: Int[Tensor, " batch"], posterior: Posterior
    ) -> Float[Tensor, "batch particle"]:
        """Return the log density of latents, in nats."""
        del labels, posterior
        return -0.5 * (latents.square() + math.log(2.0 * math.pi)).sum(-1)

    def rate(
        self,
        moments: Moments,
        latents: Float[Tensor, "batch latent"],
        labels: Int[Tensor, " batch"],
        posterior: Posterior,
    ) -> Float[Tensor, " batch"]:
        """Return the KL divergence itself (Kingma & Welling 2014, appendix B)."""
        del latents, labels, posterior
        mean, log_std = moments
        return 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std).sum(1)


class VampConfig(Config):
    """An even mixture of the posteriors of learned images (VampPrior; Tomczak & Welling 2018, eq. 10)."""

    kind: Literal["vamp"] = "vamp"
    """Kind of prior."""
    components: Annotated[int, Field(ge=1, le=1000), Choice(16, 64)] = 64
    """Images that are learned; each makes a component for every class."""

    def build(self, image: ImageSpec, *, latents: int, num_classes: int) -> Prior:
        """Build it."""
        return VampPrior(image, latents, components=self.components, num_classes=num_classes)


class VampPrior(Prior):
    """A mixture of what the encoder makes of learned images."""

    def __init__(self, image: ImageSpec, latents: int, *, components: int, num_classes: int) -> None:
        super().__init__(latents)
        self.num_classes = max(num_classes, 1)
        self.pixels = nn.Parameter(torch.randn(components, *image.shape) * START_STD / SPEED)

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams ``latent`` and ``component``, which chooses one."""
        return {**super().noise(), "component": NoiseSpec((), "uniform")}

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"], posterior: Posterior) -> Tensor:
        """Draw latents of the learned image that the noise chooses."""
        chosen = (noise["component"] * len(self.pixels)).long().to(labels.device)
        mean, log_std = posterior(self._images(chosen), labels)
        return mean + log_std.exp() * noise["latent"]

    def log_prob(
        self, latents: Float[Tensor, "batch particle latent"], labels: Int[Tensor, " batch"], posterior: Posterior
    ) -> Float[Tensor, "batch particle"]:
        """Return the log density of latents, in nats."""
        count = len(self.pixels)
        features = posterior.features(self._images(slice(None)))  # each image once, whatever the classes
        classes = torch.arange(self.num_classes, device=labels.device).repeat_interleave(count)
        mean, log_std = posterior.moments(features.repeat(self.num_classes, *[1] * (features.ndim - 1)), classes)
        own = labels if self.num_classes > 1 else torch.zeros_like(labels)
        of_rows = (each.unflatten(0, (-1, count))[own][:, None] for each in (mean, log_std))
        return log_normal(latents[:, :, None], tuple(of_rows)).logsumexp(2) - math.log(count)

    def _images(self, rows: Tensor | slice) -> Tensor:
        return (SPEED * self.pixels[rows]).tanh()


PriorConfig = Annotated[NormalConfig | VampConfig, Field(discriminator="kind")]
"""Distribution that the latents of new images are drawn from."""


def log_normal(latents: Tensor, moments: tuple[Tensor, ...]) -> Tensor:
    """Return the log density of latents, the last axis, under independent normal distributions, in nats."""
    mean, log_std = (each.reshape(len(each), *[1] * (latents.ndim - each.ndim), *each.shape[1:]) for each in moments)
    return -0.5 * (((latents - mean) / log_std.exp()).square() + 2.0 * log_std + math.log(2.0 * math.pi)).sum(-1)
