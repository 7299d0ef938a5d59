"""Generative adversarial networks, by default after the recipe of R3GAN (Huang et al. 2024)."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Choice, Range
from rayology.image import Batch, Grid, ImageSpec
from rayology.models import spectral
from rayology.models.adaptive import AdaptiveAugmentation, AdaptiveConfig
from rayology.models.adversarial import LOSSES, Compared, LossName, RegulariserConfig, ZeroCentredConfig
from rayology.models.backbones import Activation, AdversaryConfig, UnetConfig, VectorDecoder, VggConfig
from rayology.models.backbones.base import GridEncoder, cropped
from rayology.models.backbones.unet import UnetFeatures
from rayology.models.base import BaseModelConfig, Model, Outcome, Phase
from rayology.noise import Noise, NoiseSpec
from rayology.primitives import PRIMITIVES

__all__ = ["Gan", "GanConfig"]

BETA1 = 0.0  # no first moment: the opponent moves too
BETA2 = 0.99


class GanConfig(BaseModelConfig):
    """A generative adversarial network.

    The defaults are R3GAN's loss and penalties (Huang et al. 2024). It departs from the paper in its networks, which
    are plain and smaller ones, ahead of residual ones after trainings of minutes; and in its schedules: the learning
    rate follows ``schedule``, the half-life of the averaged weights is a share of the images seen until it reaches
    ``optimizer.ema_images``, and beta2 and the penalty's weight stay, unless ``early_beta2`` and
    ``regulariser.decay`` say otherwise.
    """

    kind: Literal["gan"] = "gan"
    """Kind of model."""
    generator: AdversaryConfig = VggConfig()
    """Network that draws the images. A U-Net starts from an image of noise, any other one from a vector."""
    critic: AdversaryConfig = VggConfig()
    """Network that tells real from generated images. A U-Net scores each pixel too (Schönfeld et al. 2020)."""
    activation: Annotated[Activation, Choice("leaky_relu", "silu")] = "leaky_relu"
    """Nonlinearity of both networks."""
    latents: Annotated[int, Field(ge=1, le=4096), Choice(32, 64, 128)] = 64
    """Dimensions of the vector of noise that a generator starts from, unless it is a U-Net."""
    loss: Annotated[LossName, Choice(*LOSSES)] = "relativistic"
    """What both networks lower."""
    regulariser: RegulariserConfig = ZeroCentredConfig()
    """What keeps the critic smooth."""
    spectral_norm: Annotated[bool, Choice(False, True)] = False  # noqa: FBT003 - values to search
    """Whether layers of the critic whose largest singular value exceeds 1 are divided by it (Miyato et al. 2018)."""
    packing: Annotated[int, Field(ge=1, le=8), Choice(1, 2)] = 1
    """Images of one class that the critic sees at once, against collapse (PacGAN; Lin et al. 2018)."""
    critic_steps: Annotated[int, Field(ge=1, le=10), Choice(1, 2, 5)] = 1
    """Steps of the critic for each one of the generator."""
    critic_lr: Annotated[PositiveFloat, Range(0.25, 4, log=True)] = 1.0
    """Factor on the critic's learning rate (two time scales; Heusel et al. 2017)."""
    early_beta2: Annotated[float, Field(ge=0, lt=1), Choice(0.9, 0.99)] = 0.99
    """Decay rate of Adam's second moment at the start; it goes to 0.99 along half a cosine."""
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

    @property
    def pack(self) -> int:
        """How many consecutive images make one row of the terms."""
        return self.packing


class Gan(Model):
    """A generator, and a critic that compares real with generated images."""

    inference_modules: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(self, config: GanConfig, image: ImageSpec) -> None:
        super().__init__(image, conditional=config.conditional)
        self.config = config
        self.loss = LOSSES[config.loss]
        self.latent, self.generator = _generator(config, image.grid, num_classes=self.num_classes)
        self.critic = Critic(config, image.grid, num_classes=self.num_classes)
        if config.spectral_norm:
            spectral.normalise(self.critic)
        self.adaptive = AdaptiveAugmentation(config.adaptive)

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases ``critic`` and ``generator``."""
        config, noise = self.config, {**self.sample_noise(), **self.adaptive.noise()}
        shared = partial(Phase, beta1=BETA1, beta2=(config.early_beta2, BETA2))
        for_critic = {**noise, **config.regulariser.noise()}
        critic, generator = (tuple(network.parameters()) for network in (self.critic, self.generator))
        return (
            shared("critic", critic, self._critic_terms, for_critic, lr=config.critic_lr),
            shared("generator", generator, self._generator_terms, noise, every=config.critic_steps),
        )

    def after_step(self, sums: Mapping[str, Tensor]) -> None:
        """Augment more if the critic told too many pairs apart, else less; follow the norms of its layers."""
        if self.adaptive.config.is_on:
            self.adaptive.adapt(sums["critic/ada_rt"], num_images=sums["critic/images"])
        spectral.iterate(self.critic)

    def sample_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``latent``."""
        return {"latent": NoiseSpec(self.latent)}

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"]) -> Tensor:
        """Run the generator."""
        inputs = noise["latent"]
        if self.conditional:
            classes = functional.one_hot(labels, self.num_classes).to(inputs.dtype)
            everywhere = classes.view(*classes.shape, *[1] * (inputs.ndim - 2))
            inputs = torch.cat([inputs, everywhere.expand(-1, -1, *inputs.shape[2:])], dim=1)
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
            real, fake = scores.chunk(2)
            compared = Compared(images, per_row(scores), lambda given: per_row(self.critic(given, batch.labels)))
            terms = {
                "adversarial": per_row(self.loss.critic(real, fake)),
                **self.config.regulariser.terms(compared, noise, progress=self.progress),
            }
            return self.adaptive.counted(terms, per_row(real), per_row(fake), pack=self.config.packing)

    def _generator_terms(self, batch: Batch, noise: Noise) -> Outcome:
        for_real, for_generated = self.adaptive.drawn(noise)
        generated = self.adaptive(self.sample(noise, batch.labels), for_generated)
        fake = real = self.critic(generated, batch.labels)
        if self.loss.needs_real:
            with torch.no_grad():
                real = self.critic(self.adaptive(batch.images, for_real), batch.labels)
        return Outcome({"adversarial": per_row(self.loss.generator(real, fake))})


class Critic(nn.Module):
    """Packs of images to scores: one a pack and, by a U-Net, one a pixel."""

    def __init__(self, config: GanConfig, image: Grid, *, num_classes: int) -> None:
        super().__init__()
        self.pack = config.packing
        packed = Grid(config.packing * image.channels, image.size)
        # A class adds a direction (Miyato & Koyama 2018).
        kinds, has_bias = max(num_classes, 1), LOSSES[config.loss].has_bias
        match config.critic:
            case UnetConfig() as unet:
                self.network: GridEncoder | UnetFeatures = UnetFeatures(unet, packed, config.activation)
                coarse, fine = self.network.coarse, self.network.fine
                self.pixel_score = PRIMITIVES[len(image.size)].convolution(fine.channels, kinds, 1, bias=has_bias)
            case backbone:
                self.network = backbone.encoder(packed, activation=config.activation)
                coarse = self.network.out
        self.score = nn.Linear(coarse.num_values, kinds, bias=has_bias)

    def forward(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Float[Tensor, "rows places"]:
        """Return the score of each pack as one of its class, then those of its pixels."""
        packs = images.unflatten(0, (-1, self.pack)).flatten(1, 2)
        size, found = images.shape[2:], self.network(packs)
        coarse, fine = found if isinstance(found, tuple) else (found, None)
        # In bf16 the difference between two similar scores would be lost.
        with torch.autocast(images.device.type, enabled=False):
            scores = self.score(coarse.flatten(1).to(self.score.weight.dtype))[:, :, None]
            if fine is not None:
                of_pixels = self.pixel_score(cropped(fine.to(self.pixel_score.weight.dtype), size))
                scores = torch.cat([scores, of_pixels.flatten(2)], dim=2)
        own = labels[:: self.pack] if self.score.out_features > 1 else torch.zeros_like(labels[:: self.pack])
        return scores[torch.arange(len(own), device=own.device), own]


def per_row(places: Float[Tensor, "rows places"]) -> Float[Tensor, " rows"]:
    """Add the value of each image to the mean over its pixels, if they have values (Schönfeld et al. 2020, eq. 3)."""
    return places[:, 0] + places[:, 1:].mean(1) if places.shape[1] > 1 else places[:, 0]


def _generator(config: GanConfig, image: Grid, *, num_classes: int) -> tuple[tuple[int, ...], nn.Module]:
    """Return the shape of the noise, and the network that turns it and the class into images."""
    match config.generator:
        case UnetConfig() as unet:
            inputs = Grid(image.channels + num_classes, image.size)
            return (image.channels, *image.size), unet.translator(inputs, image, activation=config.activation)
        case backbone:
            decoder = backbone.decoder(image, activation=config.activation)
            return (config.latents,), VectorDecoder(config.latents + num_classes, decoder)
