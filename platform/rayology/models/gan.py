"""A relativistic GAN with zero-centred gradient penalties on real and on generated images (Huang et al. 2024)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Choice, Config, Range
from rayology.image import Batch, ImageSpec
from rayology.models.adaptive import AdaptiveAugmentation, AdaptiveConfig
from rayology.models.backbones import BackboneConfig, ResNetConfig
from rayology.models.base import Draws, Model, Phase, Terms

__all__ = ["Gan", "GanConfig"]

BETAS = (0.0, 0.99)  # no first moment: the opponent moves too


class GanConfig(Config):
    """A generative adversarial network."""

    kind: Literal["gan"] = "gan"
    """Which model."""
    backbone: BackboneConfig = ResNetConfig(activation="leaky_relu")
    """The networks of generator and critic."""
    latents: Annotated[int, Field(ge=1, le=4096), Choice(32, 64, 128)] = 64
    """Dimensions of the noise that the generator starts from."""
    penalty: Annotated[PositiveFloat, Range(0.05, 20, log=True)] = 0.5
    """Weight of both gradient penalties (gamma)."""
    conditional: bool = True
    """Whether generator and critic are told the class; of no effect where images have none."""
    adaptive: AdaptiveConfig = AdaptiveConfig()
    """What happens to real and generated images alike while the critic overfits; samples do not learn it."""

    def build(self, image: ImageSpec) -> "Gan":
        """Build the model, its weights drawn from torch's global generator."""
        return Gan(self, image)


class Gan(Model):
    """A generator, and a critic that compares a real with a generated image."""

    served: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, config: GanConfig, image: ImageSpec) -> None:
        super().__init__(image, noise_size=config.latents, conditional=config.conditional)
        self.penalty = config.penalty
        self.generator = config.backbone.decoder(image, inputs=config.latents + self.num_classes)
        self.critic = Critic(config.backbone, image, num_classes=self.num_classes)
        self.adaptive = AdaptiveAugmentation(config.adaptive)

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases ``critic`` and ``generator``."""
        num_draws = 2 * self.adaptive.num_draws  # a real image and a generated one
        return (
            Phase("critic", tuple(self.critic.parameters()), self._critic_terms, BETAS, num_draws),
            Phase("generator", tuple(self.generator.parameters()), self._generator_terms, BETAS, num_draws),
        )

    def adapt(self, figures: Mapping[str, Float[Tensor, ""]], *, num_images: int) -> None:
        """Augment more if the critic told too many pairs apart, else less."""
        if self.adaptive.config.is_on:
            self.adaptive.adapt(figures["critic/told_apart"], num_images=num_images)

    def sample(self, noise: Float[Tensor, "batch noise"], labels: Int[Tensor, " batch"]) -> Tensor:
        """Run the generator."""
        if self.conditional:
            noise = torch.cat([noise, functional.one_hot(labels, self.num_classes).to(noise.dtype)], dim=1)
        return self.generator(noise)

    def _critic_terms(self, batch: Batch, draws: Draws) -> Terms:
        with torch.no_grad():
            generated = self.sample(draws.noise, batch.labels)

        # The penalties differentiate the critic twice: bf16 would lose them, so this phase runs in full precision.
        # They are of the images that the critic sees, because a transform need not be differentiable twice.
        with torch.autocast(batch.images.device.type, enabled=False):
            images = torch.cat([batch.images, generated.to(batch.images.dtype)])
            images = self.adaptive(images, torch.cat(draws.uniform.chunk(2, dim=1))).requires_grad_()
            scores = self.critic(images, batch.labels.repeat(2))
            real_score, fake_score = scores.chunk(2)
            real_penalty, fake_penalty = (0.5 * self.penalty * gradient_penalty(scores, images)).chunk(2)
            return {
                "pairing": functional.softplus(fake_score - real_score),
                "real_penalty": real_penalty,
                "fake_penalty": fake_penalty,
                **self.adaptive.figures(real_score, fake_score),
            }

    def _generator_terms(self, batch: Batch, draws: Draws) -> Terms:
        real_draws, fake_draws = draws.uniform.chunk(2, dim=1)
        with torch.no_grad():
            real_score = self.critic(self.adaptive(batch.images, real_draws), batch.labels)
        generated = self.adaptive(self.sample(draws.noise, batch.labels), fake_draws)
        fake_score = self.critic(generated, batch.labels)
        return {"pairing": functional.softplus(real_score - fake_score)}


class Critic(nn.Module):
    """Images to a score; only the difference of two scores of one class has a meaning."""

    def __init__(self, backbone: BackboneConfig, image: ImageSpec, *, num_classes: int) -> None:
        super().__init__()
        self.encoder = backbone.encoder(image)
        # A bias here would cancel in every pairing: it is left out. A class adds a direction (Miyato & Koyama 2018).
        self.score = nn.Linear(self.encoder.num_features, max(num_classes, 1), bias=False)

    def forward(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the score of each image as one of its class."""
        features = self.encoder(images)
        # Scores are only ever subtracted: in bf16 the difference of two alike ones would be lost.
        with torch.autocast(images.device.type, enabled=False):
            scores = self.score(features.to(self.score.weight.dtype))
        own = labels if self.score.out_features > 1 else torch.zeros_like(labels)
        return scores.gather(1, own[:, None]).squeeze(1)


def gradient_penalty(score: Float[Tensor, " batch"], images: Tensor) -> Float[Tensor, " batch"]:
    """Return the squared gradient of each score by its image (Mescheder et al. 2018, eq. 9)."""
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)
