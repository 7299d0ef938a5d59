"""What a generator and a critic are taught by: their losses, and what keeps a critic smooth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional

from rayology.config import Choice, Config, Range
from rayology.models.base import Terms, cosine
from rayology.noise import Noise, NoiseSpec

__all__ = [
    "LOSSES",
    "AdversarialLoss",
    "Compared",
    "InterpolatedConfig",
    "LossName",
    "NoRegulariserConfig",
    "RegulariserConfig",
    "ZeroCentredConfig",
    "squared_gradient",
]

LossName = Literal["relativistic", "non_saturating", "hinge", "least_squares", "wasserstein"]


@dataclass(frozen=True)
class AdversarialLoss:
    """What critic and generator lower, each a function of the scores of real and of generated images, element wise."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    needs_real: bool = False
    """Whether the generator's loss looks at real images too."""
    has_bias: bool = True
    """Whether it sees what is added to both scores."""


LOSSES: Mapping[LossName, AdversarialLoss] = {
    # Jolicoeur-Martineau 2019, eq. 4 and 5, the relativistic pairing of R3GAN (Huang et al. 2024, eq. 2)
    "relativistic": AdversarialLoss(
        critic=lambda real, fake: functional.softplus(fake - real),
        generator=lambda real, fake: functional.softplus(real - fake),
        needs_real=True,
        has_bias=False,
    ),
    # Goodfellow et al. 2014, section 3
    "non_saturating": AdversarialLoss(
        critic=lambda real, fake: functional.softplus(fake) + functional.softplus(-real),
        generator=lambda _, fake: functional.softplus(-fake),
    ),
    # Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17
    "hinge": AdversarialLoss(
        critic=lambda real, fake: functional.relu(1 - real) + functional.relu(1 + fake),
        generator=lambda _, fake: -fake,
    ),
    # Mao et al. 2017, eq. 9, with 0 for generated images and 1 for real ones
    "least_squares": AdversarialLoss(
        critic=lambda real, fake: ((real - 1).square() + fake.square()) / 2,
        generator=lambda _, fake: (fake - 1).square() / 2,
    ),
    # Arjovsky et al. 2017, eq. 2 and 3
    "wasserstein": AdversarialLoss(
        critic=lambda real, fake: fake - real,
        generator=lambda _, fake: -fake,
        has_bias=False,
    ),
}


@dataclass(frozen=True)
class Compared:
    """What a critic was asked: real images, then as many generated ones, and what it said of each row of them."""

    images: Tensor
    """A leaf of the graph."""
    scores: Float[Tensor, " rows"]
    score: Callable[[Tensor], Float[Tensor, " rows"]]
    """The critic, for as many images as there are real ones, of the same classes."""


class ZeroCentredConfig(Config):
    """Penalties on the squared gradient of the score at real and generated images (Mescheder et al. 2018)."""

    kind: Literal["zero_centred"] = "zero_centred"
    """Kind of regulariser."""
    weight: Annotated[PositiveFloat, Range(0.05, 20, log=True)] = 0.5
    """Weight of the penalties (gamma)."""
    at: Annotated[Literal["both", "real"], Choice("both", "real")] = "both"
    """Images at which the gradient is penalised: R1 and R2 (their eq. 9 and 10), or R1 alone, at the same cost."""
    decay: Annotated[float, Field(gt=0, le=1), Choice(0.1, 1.0)] = 1.0
    """Factor on the weight at the end of the training, reached along half a cosine."""

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``terms`` takes: none."""
        return {}

    def terms(self, compared: Compared, noise: Noise, *, progress: float) -> Terms:
        """Return the penalties of each row, ``progress`` of the training being over."""
        del noise
        weight = 0.5 * self.weight * cosine(1.0, self.decay, progress)
        at_real, at_generated = (weight * squared_gradient(compared.scores, compared.images)).chunk(2)
        return {"real_penalty": at_real} | ({"fake_penalty": at_generated} if self.at == "both" else {})


class InterpolatedConfig(Config):
    """A penalty that draws the norm of the gradient to 1 between real and generated images (Gulrajani et al. 2017)."""

    kind: Literal["interpolated"] = "interpolated"
    """Kind of regulariser."""
    weight: Annotated[PositiveFloat, Range(0.5, 50, log=True)] = 10.0
    """Weight of the penalty (lambda)."""

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``interpolation``: where between real and generated images each row looks."""
        return {"interpolation": NoiseSpec((1,), "uniform")}

    def terms(self, compared: Compared, noise: Noise, *, progress: float) -> Terms:
        """Return the penalty of each row (their eq. 3)."""
        del progress
        real, generated = compared.images.detach().chunk(2)
        rows = len(compared.scores) // 2
        of_rows = noise["interpolation"].to(real).view(rows, -1)[:, :1]  # one for all images of a pack
        share = of_rows.expand(-1, len(real) // rows).reshape(-1, *[1] * (real.ndim - 1))
        between = torch.lerp(generated, real, share).requires_grad_()
        # The root has no derivative at zero, where a critic of zero-initialised layers may begin.
        norm = (squared_gradient(compared.score(between), between) + 1e-12).sqrt()
        return {"gradient_penalty": self.weight * (norm - 1).square()}


class NoRegulariserConfig(Config):
    """Nothing: for critics that something else keeps smooth, such as spectral normalisation."""

    kind: Literal["none"] = "none"
    """Kind of regulariser."""

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``terms`` takes: none."""
        return {}

    def terms(self, compared: Compared, noise: Noise, *, progress: float) -> Terms:
        """Return no terms."""
        del compared, noise, progress
        return {}


RegulariserConfig = Annotated[ZeroCentredConfig | InterpolatedConfig | NoRegulariserConfig, Field(discriminator="kind")]
"""What keeps a critic smooth."""


def squared_gradient(scores: Float[Tensor, " rows"], images: Tensor) -> Float[Tensor, " rows"]:
    """Return the squared norm of the gradient of each score by its images, consecutive ones if they are packed."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().reshape(len(scores), -1).sum(1)
