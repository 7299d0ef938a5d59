"""A relativistic GAN with zero-centred gradient penalties on real and on generated images (Huang et al. 2024)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Choice, Range
from rayology.image import Batch, ImageSpec
from rayology.models.adaptive import AdaptiveAugmentation, AdaptiveConfig
from rayology.models.backbones import Activation, BackboneConfig, ResNetConfig, VectorDecoder
from rayology.models.base import BaseModelConfig, Model, Outcome, Phase
from rayology.noise import Noise, NoiseSpec

__all__ = ["Gan", "GanConfig"]

BETAS = (0.0, 0.99)  # no first moment: the opponent moves too


class GanConfig(BaseModelConfig):
    """A generative adversarial network."""

    kind: Literal["gan"] = "gan"
    """Kind of model."""
    backbone: BackboneConfig = ResNetConfig()
    """The networks of generator and critic."""
    activation: Annotated[Activation, Choice("leaky_relu", "silu")] = "leaky_relu"
    """Nonlinearity of both networks."""
    latents: Annotated[int, Field(ge=1, le=4096), Choice(32, 64, 128)] = 64
    """Dimensions of the noise that the generator starts from."""
    penalty: Annotated[PositiveFloat, Range(0.05, 20, log=True)] = 0.5
    """Weight of both gradient penalties (gamma)."""
    conditional: bool = True
    """Whether generator and critic know the class; without effect on images without classes."""
    adaptive: AdaptiveConfig = AdaptiveConfig()
    """Transforms of real and generated images alike while the critic overfits; samples do not show them."""

    @classmethod
    def builds(cls) -> type[Model]:
        """Return the model's class."""
        return Gan

    def build(self, image: ImageSpec) -> "Gan":
        """Build the model, its weights drawn from torch's global generator."""
        return Gan(self, image)


class Gan(Model):
    """A generator, and a critic that compares a real with a generated image."""

    inference_modules: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, config: GanConfig, image: ImageSpec) -> None:
        super().__init__(image, conditional=config.conditional)
        self.penalty = config.penalty
        self.latents = config.latents
        decoder = config.backbone.decoder(image.grid, activation=config.activation)
        self.generator = VectorDecoder(config.latents + self.num_classes, decoder)
        self.critic = Critic(config, image, num_classes=self.num_classes)
        self.adaptive = AdaptiveAugmentation(config.adaptive)

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases ``critic`` and ``generator``."""
        noise = {**self.sample_noise(), **self.adaptive.noise()}
        return (
            Phase("critic", tuple(self.critic.parameters()), self._critic_terms, noise, BETAS),
            Phase("generator", tuple(self.generator.parameters()), self._generator_terms, noise, BETAS),
        )

    def after_step(self, sums: Mapping[str, Tensor]) -> None:
        """Augment more if the critic told too many pairs apart, else less."""
        if self.adaptive.config.is_on:
            self.adaptive.adapt(sums["critic/ada_rt"], num_pairs=sums["critic/pairs"])

    def sample_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``latent``."""
        return {"latent": NoiseSpec((self.latents,))}

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"]) -> Tensor:
        """Run the generator."""
        inputs = noise["latent"]
        if self.conditional:
            inputs = torch.cat([inputs, functional.one_hot(labels, self.num_classes).to(inputs.dtype)], dim=1)
        return self.generator(inputs)

    def _critic_terms(self, batch: Batch, noise: Noise) -> Outcome:
        with torch.no_grad():
            generated = self.sample(noise, batch.labels)

        # The penalties differentiate the critic twice: bf16 would lose them, so this phase runs in full precision.
        # They are gradients by the images that the critic sees, because a transform need not be differentiable twice.
        with torch.autocast(batch.images.device.type, enabled=False):
            images = torch.cat([batch.images, generated.to(batch.images.dtype)])
            images = self.adaptive(images, *self.adaptive.drawn(noise)).requires_grad_()
            scores = self.critic(images, batch.labels.repeat(2))
            real_score, fake_score = scores.chunk(2)
            real_penalty, fake_penalty = (0.5 * self.penalty * gradient_penalty(scores, images)).chunk(2)
            terms = {
                "pairing": functional.softplus(fake_score - real_score),
                "real_penalty": real_penalty,
                "fake_penalty": fake_penalty,
            }
            return self.adaptive.counted(terms, real_score, fake_score)

    def _generator_terms(self, batch: Batch, noise: Noise) -> Outcome:
        for_real, for_generated = self.adaptive.drawn(noise)
        with torch.no_grad():
            real_score = self.critic(self.adaptive(batch.images, for_real), batch.labels)
        generated = self.adaptive(self.sample(noise, batch.labels), for_generated)
        fake_score = self.critic(generated, batch.labels)
        return Outcome({"pairing": functional.softplus(real_score - fake_score)})


class Critic(nn.Module):
    """Images to a score; only the difference between two scores of one class has a meaning."""

    def __init__(self, config: GanConfig, image: ImageSpec, *, num_classes: int) -> None:
        super().__init__()
        self.encoder = config.backbone.encoder(image.grid, activation=config.activation)
        # A bias here would cancel in every pairing: it is left out. A class adds a direction (Miyato & Koyama 2018).
        self.score = nn.Linear(self.encoder.out.num_values, max(num_classes, 1), bias=False)

    def forward(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the score of each image as one of its class."""
        features = self.encoder(images).flatten(1)
        # Scores are only ever subtracted: in bf16 the difference between two similar ones would be lost.
        with torch.autocast(images.device.type, enabled=False):
            scores = self.score(features.to(self.score.weight.dtype))
        own = labels if self.score.out_features > 1 else torch.zeros_like(labels)
        return scores.gather(1, own[:, None]).squeeze(1)


def gradient_penalty(score: Float[Tensor, " batch"], images: Tensor) -> Float[Tensor, " batch"]:
    """Return the squared gradient of each score by its image (Mescheder et al. 2018, eq. 9)."""
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)
