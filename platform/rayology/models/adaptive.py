"""Adaptive augmentation: just enough to keep a critic from memorizing its real images (Karras et al. 2020)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from rayology.augment import NOISE, Augmentation, AugmentConfig
from rayology.models.base import Outcome, Terms
from rayology.noise import Noise, NoiseSpec

__all__ = ["AdaptiveAugmentation", "AdaptiveConfig"]

# Karras et al. 2020, section 2.2: up to here enough images stay untouched for the critic to know what those look like.
# In the paper half of the images chosen for a flip are flipped; at 0.5 nothing would tell which way round is right.
MOST, MOST_FLIPS = 0.8, 0.4
# Karras et al. 2020, section 3.1: four batches of 64; the sign of a small batch's share would follow its median.
COUNTED_IMAGES = 256
LARGEST_MOVE = 0.125  # of the strength: along a short ramp fewer images are counted
FLIPS = ("mirror", "flip")


class AdaptiveConfig(AugmentConfig):
    """Probabilities, at full strength, of transforms of all that the critic sees, real or generated.

    The strength starts at zero and rises only while the critic tells too many real images from generated ones. A good
    start is 0.8 for each of rotate, translate, scale and intensity.
    """

    target: Annotated[float, Field(ge=-1, lt=1)] = 0.6
    """Target of ``critic/ada_rt``, the share of pairs that the critic tells apart less the share that it mistakes."""
    ramp_images: PositiveFloat = 10_000.0
    """Images over which the strength may rise from 0 to 1, or fall; 500,000 in the paper, whose runs are longer."""

    @model_validator(mode="after")
    def _does_not_leak(self) -> "AdaptiveConfig":
        for name in AugmentConfig.model_fields:
            probability, most = getattr(self, name), MOST_FLIPS if name in FLIPS else MOST
            if probability > most:
                raise ValueError(f"{name} {probability:g} would show in what the model draws; write {most} at most")
        return self


class AdaptiveAugmentation(nn.Module):
    """Transforms of all that a critic sees, at a strength that follows how well it does."""

    strength: Tensor
    signs: Tensor
    num_images: Tensor

    def __init__(self, config: AdaptiveConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("strength", torch.zeros(()))
        # Since the strength last moved: the sum of the signs of pairs, and how many images were seen.
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("num_images", torch.zeros(()))

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``augment``, for a real and a generated image; none if every transform is off."""
        return {"augment": NoiseSpec((2, *NOISE.shape), NOISE.distribution)} if self.config.is_on else {}

    def drawn(self, noise: Noise) -> Sequence[Tensor]:
        """Return what is drawn for the real images, and for the generated ones."""
        return noise["augment"].unbind(dim=1) if self.config.is_on else 2 * (torch.empty(0, *NOISE.shape),)

    def forward(self, images: Tensor, *uniform: Float[Tensor, "batch uniform"]) -> Tensor:
        """Transform images in full precision, by the uniform values, on the CPU, of each part of the images."""
        if not self.config.is_on:
            return images
        with torch.autocast(images.device.type, enabled=False):
            augmentation = Augmentation(self.config, torch.cat(uniform), float(self.strength))
            return augmentation.images(images.to(self.strength.dtype))

    def counted(self, terms: Terms, real_score: Tensor, fake_score: Tensor, *, pack: int = 1) -> Outcome:
        """Add to terms the sign of each pair (1 if it was told apart, else -1) and the strength; count images."""
        if not self.config.is_on:
            return Outcome(terms)
        signs = (real_score - fake_score).detach().sign()
        figures = {"ada_rt": signs, "strength": self.strength.expand_as(signs)}
        sums = {"ada_rt": pack * signs.sum(), "images": pack * torch.ones_like(signs).sum()}
        return Outcome({**terms, **figures}, sums)

    def adapt(self, signs: Float[Tensor, ""], *, num_images: Float[Tensor, ""]) -> None:
        """Add up the signs of pairs; after enough images, raise the strength if their mean (r_t) exceeds the target."""
        self.signs.add_(signs)
        self.num_images.add_(num_images)
        counted = float(self.num_images)
        if counted < min(COUNTED_IMAGES, LARGEST_MOVE * self.config.ramp_images):
            return
        # Rounded, so that a mean equal to the target compares as equal, in whatever order it was summed.
        surplus = torch.round(self.signs / counted - self.config.target, decimals=5)
        self.strength.add_(surplus.sign(), alpha=counted / self.config.ramp_images).clamp_(0.0, 1.0)
        self.signs.zero_()
        self.num_images.zero_()
