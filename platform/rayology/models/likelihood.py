"""How probable a VAE's decoder makes an image: what its numbers mean, and what they cost."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rayology.config import Config
from rayology.image import ImageSpec
from rayology.noise import Noise, NoiseSpec

__all__ = [
    "BernoulliConfig",
    "GaussianConfig",
    "LaplaceConfig",
    "Likelihood",
    "LikelihoodConfig",
    "LogisticConfig",
    "ScaledLikelihood",
]

START_SCALE = 0.1  # of a likelihood, in units of the [-1, 1] range
SPEED = 10.0  # Adam moves a parameter by about lr a step; the log of the scale has further to go


class Likelihood(nn.Module, ABC):
    """A distribution of stored values around what a decoder draws."""

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``observed`` takes."""
        return {}

    def observed(self, images: Tensor, noise: Noise) -> Tensor:
        """Return what is to be explained of images."""
        del noise
        return images

    def seen(self, observed: Tensor) -> Tensor:
        """Return what is to be explained as an image in [-1, 1]."""
        return observed

    def mean(self, decoded: Tensor) -> Tensor:
        """Return the mean, an image in [-1, 1]."""
        return decoded

    def forward(self, observed: Tensor, decoded: Tensor) -> Float[Tensor, " batch"]:
        """Return the negative log probability of the stored values, in nats per pixel."""
        return self.of_pixels(observed, decoded.to(observed.dtype)).flatten(1).mean(1)

    @abstractmethod
    def of_pixels(self, observed: Tensor, decoded: Tensor) -> Tensor:
        """Return the same of each pixel."""


class ScaledLikelihood(Likelihood):
    """A likelihood with one learned scale for all pixels (Rybkin et al. 2021), never below half a step.

    A density times the step between stored values approximates their probability while it is several steps wide.
    """

    def __init__(self, image: ImageSpec) -> None:
        super().__init__()
        self.step = 2.0 / (image.values.levels - 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE) / SPEED))

    @property
    def scale(self) -> Tensor:
        """Return the scale, in units of the [-1, 1] range."""
        return self.step / 2 + (SPEED * self.log_scale).exp()


class GaussianConfig(Config):
    """A normal distribution with one learned scale (Rybkin et al. 2021)."""

    kind: Literal["gaussian"] = "gaussian"
    """Kind of likelihood."""

    def build(self, image: ImageSpec) -> Likelihood:
        """Build it."""
        return Gaussian(image)


class Gaussian(ScaledLikelihood):
    """A normal density around the decoded image."""

    def of_pixels(self, observed: Tensor, decoded: Tensor) -> Tensor:
        """Return the negative log density of each pixel, times the step."""
        scale = self.scale
        return 0.5 * ((observed - decoded) / scale).square() + (scale / self.step).log() + 0.5 * math.log(2.0 * math.pi)


class LaplaceConfig(Config):
    """A Laplace distribution with one learned scale, which forgives outliers and keeps edges."""

    kind: Literal["laplace"] = "laplace"
    """Kind of likelihood."""

    def build(self, image: ImageSpec) -> Likelihood:
        """Build it."""
        return Laplace(image)


class Laplace(ScaledLikelihood):
    """A Laplace density around the decoded image."""

    def of_pixels(self, observed: Tensor, decoded: Tensor) -> Tensor:
        """Return the negative log density of each pixel, times the step."""
        scale = self.scale
        return (observed - decoded).abs() / scale + (2.0 * scale / self.step).log()


class LogisticConfig(Config):
    """A logistic distribution, cut into the probabilities of the stored values (Salimans et al. 2017, eq. 2)."""

    kind: Literal["logistic"] = "logistic"
    """Kind of likelihood."""

    def build(self, image: ImageSpec) -> Likelihood:
        """Build it."""
        return DiscretisedLogistic(image)


class DiscretisedLogistic(ScaledLikelihood):
    """The mass of a logistic distribution around the decoded image, within half a step of each stored value."""

    def of_pixels(self, observed: Tensor, decoded: Tensor) -> Tensor:
        """Return the negative log mass of each pixel; the lowest and the highest value have all that lies beyond."""
        scale, half = self.scale, self.step / 2
        above, below = (observed - decoded + half) / scale, (observed - decoded - half) / scale
        not_below, not_above = functional.logsigmoid(above), functional.logsigmoid(-below)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), none of which cancels
        inside = not_below + not_above + (-torch.expm1(-self.step / scale)).log()
        mass = torch.where(observed < half - 1, not_below, torch.where(observed > 1 - half, not_above, inside))
        return -mass


class BernoulliConfig(Config):
    """Black or white: a pixel is white with its grey level as the probability, drawn anew each time it is seen.

    This dynamic binarisation is how likelihoods of MNIST are published (Burda et al. 2016). Bits are those of black and
    white pixels, and not to be compared with those of other likelihoods.
    """

    explains: ClassVar = "black and white pixels"

    kind: Literal["bernoulli"] = "bernoulli"
    """Kind of likelihood."""

    def build(self, image: ImageSpec) -> Likelihood:
        """Build it."""
        return Bernoulli(image)


class Bernoulli(Likelihood):
    """The probability of black and white pixels, whose logits are decoded."""

    def __init__(self, image: ImageSpec) -> None:
        super().__init__()
        self.shape = image.shape

    def noise(self) -> Mapping[str, NoiseSpec]:
        """Return the stream ``binarisation``."""
        return {"binarisation": NoiseSpec(self.shape, "uniform")}

    def observed(self, images: Tensor, noise: Noise) -> Tensor:
        """Draw black, 0, or white, 1, for each pixel; what is not a number stays none, so that it is found."""
        is_white = 2.0 * noise["binarisation"].to(images) - 1.0 < images
        return torch.where(images.isnan(), images, is_white.to(images.dtype))

    def seen(self, observed: Tensor) -> Tensor:
        """Return black and white as an image in [-1, 1]."""
        return 2.0 * observed - 1.0

    def mean(self, decoded: Tensor) -> Tensor:
        """Return the mean, an image in [-1, 1]."""
        return 2.0 * decoded.sigmoid() - 1.0

    def of_pixels(self, observed: Tensor, decoded: Tensor) -> Tensor:
        """Return the negative log probability of each pixel."""
        return functional.binary_cross_entropy_with_logits(decoded, observed, reduction="none")


LikelihoodConfig = Annotated[
    GaussianConfig | LaplaceConfig | LogisticConfig | BernoulliConfig, Field(discriminator="kind")
]
"""Distribution of images around what is decoded."""
