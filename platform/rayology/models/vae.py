"""Variational autoencoders (Kingma & Welling 2014): a prior, a likelihood and an objective, each of several kinds."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Choice, Config, Range
from rayology.image import VALUES_AT_ONCE, Batch, Grid, ImageSpec, num_at_once
from rayology.models.backbones import Activation, BackboneConfig, ResNetConfig, VectorDecoder
from rayology.models.base import BaseModelConfig, Model, Outcome, Phase
from rayology.models.likelihood import GaussianConfig, LikelihoodConfig
from rayology.models.prior import NormalConfig, Posterior, PriorConfig, log_normal
from rayology.noise import Noise, NoiseSpec

__all__ = ["ElboConfig", "IwaeConfig", "ObjectiveConfig", "Vae", "VaeConfig"]

SPEED = 10.0  # Adam moves a parameter by about lr a step; the mean image has further to go


class ElboConfig(Config):
    """The evidence lower bound (Kingma & Welling 2014)."""

    kind: Literal["elbo"] = "elbo"
    """Kind of objective."""
    beta: Annotated[PositiveFloat, Range(0.1, 16, log=True)] = 1.0
    """Weight of the rate against the distortion (Higgins et al. 2017); 1 is the bound on the likelihood. More brings
    latents of images closer to those that samples are drawn from, and costs detail."""
    free_bits: Annotated[NonNegativeFloat, Choice(0, 8)] = 0.0
    """Rate, in bits, below which lowering it gains nothing: of each image alone; Kingma et al. (2016, eq. 15) take the
    mean over a batch."""


class IwaeConfig(Config):
    """The importance weighted bound (Burda et al. 2016, eq. 8), tighter than the evidence lower bound."""

    kind: Literal["iwae"] = "iwae"
    """Kind of objective."""
    particles: Annotated[int, Field(ge=1, le=100), Choice(5, 10)] = 5
    """Latents drawn of each image; an image costs as many times as much to decode."""


ObjectiveConfig = Annotated[ElboConfig | IwaeConfig, Field(discriminator="kind")]
"""Bound that training raises."""


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
    prior: PriorConfig = NormalConfig()
    """Distribution that the latents of new images are drawn from."""
    likelihood: Annotated[LikelihoodConfig, Choice("gaussian", "laplace", "logistic")] = GaussianConfig()
    """Distribution of images around what is decoded."""
    objective: ObjectiveConfig = ElboConfig()
    """Bound that training raises."""
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
    """Encoder and decoder trained on a bound on the likelihood."""

    inference_modules: ClassVar[tuple[str, ...]] = ("encoder", "posterior", "decoder", "likelihood", "prior")

    def __init__(self, config: VaeConfig, image: ImageSpec) -> None:
        super().__init__(image, conditional=config.conditional)
        self.objective = config.objective
        self.latents = config.latents
        self.encoder = config.encoder.encoder(image.grid, activation=config.activation)
        self.posterior = nn.Linear(self.encoder.out.num_values + self.num_classes, 2 * config.latents)
        decoder = config.decoder.decoder(image.grid, activation=config.activation)
        self.decoder = MeanAndDifference(VectorDecoder(config.latents + self.num_classes, decoder), image)
        self.likelihood = config.likelihood.build(image)
        self.prior = config.prior.build(image, latents=config.latents, num_classes=self.num_classes)

    def phases(self) -> tuple[Phase, ...]:
        """Return the single phase ``vae``."""
        match self.objective:
            case ElboConfig():
                terms, particles = self._elbo, 1
            case IwaeConfig(particles=particles):
                terms = self._iwae
        return (Phase("vae", tuple(self.parameters()), terms, self.bound_noise(particles)),)

    def sample_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams of the prior."""
        return self.prior.noise()

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"]) -> Tensor:
        """Decode latents of the prior."""
        return self.decode(self.prior.sample(noise, labels, self._posterior), labels)

    def latent(self) -> Grid:
        """Return the latents of an image: a vector."""
        return Grid(self.latents, ())

    def encode(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch latents"]:
        """Return the mean of the posterior."""
        mean, _ = self._posterior(images, labels)
        return mean

    def decode(self, latents: Float[Tensor, "batch latents"], labels: Int[Tensor, " batch"]) -> Tensor:
        """Return the mean of the likelihood."""
        return self.likelihood.mean(self._decoded(latents, labels))

    def reconstruct(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        """Decode the mean of the posterior."""
        return self.decode(self.encode(images, labels), labels)

    def bound_noise(self, particles: int = 1) -> Mapping[str, NoiseSpec]:
        """Return the stream ``latent``, for as many latents as are drawn of an image, and those of the likelihood."""
        return {"latent": NoiseSpec((particles, self.latents)), **self.likelihood.noise()}

    def bits_per_dim(self, batch: Batch, noise: Noise) -> Float[Tensor, " batch"]:
        """Return an upper bound on what an image costs, in bits per stored value.

        Of one particle it is the negative evidence lower bound at beta = 1, of several the importance weighted one.
        """
        if noise["latent"].shape[1] == 1:
            distortion, rate = self._distortion_and_rate(batch, noise)
            return (distortion + rate / self._num_pixels) / math.log(2.0)
        return -self._bound(batch, noise) / self._num_pixels / math.log(2.0)

    @property
    def _num_pixels(self) -> int:
        return self.image.grid.num_values

    @property
    def _posterior(self) -> Posterior:
        return Posterior(lambda images: self.encoder(images).flatten(1), self._moments)

    def _moments(self, features: Tensor, labels: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Return mean and log standard deviation of the posterior, each (batch, latents)."""
        read = self.posterior(self._with_class(features, labels))
        mean, log_std = read.to(self.posterior.weight.dtype).chunk(2, dim=1)
        return mean, log_std.clamp(-10.0, 10.0)

    def _elbo(self, batch: Batch, noise: Noise) -> Outcome:
        """Return both terms in nats per pixel, so that their size does not depend on the image's."""
        assert isinstance(self.objective, ElboConfig)  # noqa: S101 - phases chose it
        distortion, rate = self._distortion_and_rate(batch, noise)
        counted = rate.clamp(min=self.objective.free_bits * math.log(2.0)) if self.objective.free_bits else rate
        return Outcome({"distortion": distortion, "rate": self.objective.beta * counted / self._num_pixels})

    def _iwae(self, batch: Batch, noise: Noise) -> Outcome:
        return Outcome({"bound": -self._bound(batch, noise) / self._num_pixels})

    def _distortion_and_rate(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return the distortion in nats per pixel, and the rate in nats."""
        observed = self.likelihood.observed(batch.images, noise)
        moments = mean, log_std = self._posterior(self.likelihood.seen(observed), batch.labels)
        latents = mean + log_std.exp() * noise["latent"][:, 0]
        distortion = self.likelihood(observed, self._decoded(latents, batch.labels))
        return distortion, self.prior.rate(moments, latents, batch.labels, self._posterior)

    def _bound(self, batch: Batch, noise: Noise) -> Float[Tensor, " batch"]:
        """Return the importance weighted bound on the log-likelihood in nats (Burda et al. 2016, eq. 8).

        Without gradients, only as many particles are decoded at once as evaluations hold images.
        """
        observed = self.likelihood.observed(batch.images, noise)
        moments = mean, log_std = self._posterior(self.likelihood.seen(observed), batch.labels)
        particles = noise["latent"].shape[1]
        at_once = particles if torch.is_grad_enabled() else num_at_once(VALUES_AT_ONCE, observed.shape)
        log_weights = []
        for drawn in noise["latent"].split(at_once, dim=1):
            latents = mean[:, None] + log_std.exp()[:, None] * drawn
            count = drawn.shape[1]
            decoded = self._decoded(latents.flatten(0, 1), batch.labels.repeat_interleave(count))
            distortion = self.likelihood(observed.repeat_interleave(count, dim=0), decoded).unflatten(0, (-1, count))
            prior = self.prior.log_prob(latents, batch.labels, self._posterior)
            log_weights.append(prior - log_normal(latents, moments) - self._num_pixels * distortion)
        return torch.cat(log_weights, dim=1).logsumexp(1) - math.log(particles)

    def _decoded(self, latents: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        return self.decoder(self._with_class(latents, labels))

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
