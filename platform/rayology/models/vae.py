"""A variational autoencoder (Kingma & Welling 2014) with one learned scale (Rybkin et al. 2021)."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Choice, Range
from rayology.image import Batch, Grid, ImageSpec
from rayology.models.backbones import Activation, BackboneConfig, ResNetConfig, VectorDecoder
from rayology.models.base import BaseModelConfig, Model, Outcome, Phase, Terms
from rayology.noise import Noise, NoiseSpec

__all__ = ["Vae", "VaeConfig"]

START_SCALE = 0.1  # of the likelihood, in units of the [-1, 1] range
SPEED = 10.0  # Adam moves a parameter by about lr a step; the mean image and the log of the scale have further to go


class VaeConfig(BaseModelConfig):
    """A variational autoencoder."""

    kind: Literal["vae"] = "vae"
    """Kind of model."""
    encoder: BackboneConfig = ResNetConfig()
    """Network from images to the features that the posterior is read from."""
    decoder: BackboneConfig = ResNetConfig()
    """Network from latents to images."""
    activation: Annotated[Activation, Choice("leaky_relu", "silu")] = "silu"
    """Nonlinearity of both networks."""
    latents: Annotated[int, Field(ge=1, le=4096), Choice(16, 32, 64, 128)] = 32
    """Dimensions of the latent space."""
    beta: Annotated[PositiveFloat, Range(0.1, 16, log=True)] = 1.0
    """Weight of the rate against the distortion (Higgins et al. 2017); 1 is the bound on the likelihood. More brings
    latents of images closer to those that samples are drawn from, and costs detail."""
    conditional: bool = True
    """Whether encoder and decoder know the class; without effect on images without classes."""

    @classmethod
    def builds(cls) -> type[Model]:
        """Return the model's class."""
        return Vae

    def build(self, image: ImageSpec) -> "Vae":
        """Build the model, its weights drawn from torch's global generator."""
        return Vae(self, image)


class Vae(Model):
    """Encoder and decoder trained on the evidence lower bound."""

    inference_modules: ClassVar[tuple[str, ...]] = ("encoder", "posterior", "decoder", "likelihood")

    def __init__(self, config: VaeConfig, image: ImageSpec) -> None:
        super().__init__(image, conditional=config.conditional)
        self.beta = config.beta
        self.latents = config.latents
        self.encoder = config.encoder.encoder(image.grid, activation=config.activation)
        self.posterior = nn.Linear(self.encoder.out.num_values + self.num_classes, 2 * config.latents)
        decoder = config.decoder.decoder(image.grid, activation=config.activation)
        self.decoder = MeanAndDifference(VectorDecoder(config.latents + self.num_classes, decoder), image)
        self.likelihood = Likelihood(floor=1.0 / (image.values.levels - 1))

    def phases(self) -> tuple[Phase, ...]:
        """Return the single phase ``vae``."""
        return (Phase("vae", tuple(self.parameters()), lambda *given: Outcome(self._terms(*given)), self._noise),)

    def sample_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``latent``."""
        return self._noise

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"]) -> Tensor:
        """Decode the noise as latents."""
        return self.decode(noise["latent"], labels)

    def latent(self) -> Grid:
        """Return the latents of an image: a vector."""
        return Grid(self.latents, ())

    def encode(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch latents"]:
        """Return the mean of the posterior."""
        mean, _ = self._posterior(images, labels)
        return mean

    def decode(self, latents: Float[Tensor, "batch latents"], labels: Int[Tensor, " batch"]) -> Tensor:
        """Return the mean of the likelihood."""
        return self.decoder(self._with_class(latents, labels))

    def reconstruct(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        """Decode the mean of the posterior."""
        return self.decode(self.encode(images, labels), labels)

    def bound_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``latent``."""
        return self._noise

    def bits_per_dim(self, batch: Batch, noise: Noise) -> Float[Tensor, " batch"]:
        """Return the negative evidence lower bound at beta = 1, in bits per stored value.

        The probability of a stored value is approximated by density times step, which holds while the scale of the
        likelihood is several steps wide.
        """
        nats = self._terms(batch, noise)
        step = 2.0 / (self.image.values.levels - 1)
        return (nats["distortion"] + nats["rate"] / self.beta) / math.log(2.0) - math.log2(step)

    @property
    def _noise(self) -> Mapping[str, NoiseSpec]:
        return {"latent": NoiseSpec((self.latents,))}

    def _posterior(self, images: Tensor, labels: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of the posterior, each (batch, latents)."""
        features = self._with_class(self.encoder(images).flatten(1), labels)
        mean, log_std = self.posterior(features).to(images.dtype).chunk(2, dim=1)
        return mean, log_std.clamp(-10.0, 10.0)

    def _terms(self, batch: Batch, noise: Noise) -> Terms:
        """Return the terms in nats per pixel, so that their size does not depend on the image's."""
        mean, log_std = self._posterior(batch.images, batch.labels)
        decoded = self.decode(mean + log_std.exp() * noise["latent"], batch.labels)
        num_pixels = math.prod(self.image.shape)
        return {
            "distortion": self.likelihood(batch.images, decoded),
            "rate": self.beta * kl_from_standard_normal(mean, log_std) / num_pixels,
        }

    def _with_class(self, features: Tensor, labels: Tensor) -> Tensor:
        if not self.conditional:
            return features
        return torch.cat([features, functional.one_hot(labels, self.num_classes).to(features.dtype)], dim=1)


class MeanAndDifference(nn.Module):
    """A decoder that draws the difference from a learned mean image.

    Without the mean image the latents first learn to carry it, all of them shifted alike; the distortion does not see
    that shift, the rate takes thousands of steps to undo it, and until then samples from the prior miss what the
    decoder has learned.
    """

    def __init__(self, decoder: VectorDecoder, image: ImageSpec) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(image.shape))
        self.difference = decoder
        nn.init.zeros_(decoder.network.head.weight)

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch channel *space"]:
        """Return the images that the inputs stand for."""
        return self.difference(inputs) + SPEED * self.mean


class Likelihood(nn.Module):
    """A Gaussian around the decoded image with one scale for all pixels, never below ``floor``."""

    def __init__(self, *, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE) / SPEED))

    def forward(self, images: Tensor, decoded: Tensor) -> Float[Tensor, " batch"]:
        """Return the negative log density in nats per pixel."""
        scale = self.floor + (SPEED * self.log_scale).exp()
        squared = ((images - decoded.to(images.dtype)) / scale).square().flatten(1).mean(1)
        return 0.5 * squared + scale.log() + 0.5 * math.log(2.0 * math.pi)


def kl_from_standard_normal(mean: Tensor, log_std: Tensor) -> Float[Tensor, " batch"]:
    """Return KL(N(mean, std^2) || N(0, 1)) in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std).sum(1)
