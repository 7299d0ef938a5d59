"""What a model is to the training loop, the bundle and the server, and what else it may be able to do."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from rayology.config import Config
from rayology.image import Batch, Grid, ImageSpec
from rayology.noise import Noise, NoiseSpec

__all__ = [
    "CAPABILITIES",
    "MODEL_NAME",
    "BaseModelConfig",
    "BoundsLikelihood",
    "Classifies",
    "Encodes",
    "Generates",
    "Model",
    "Outcome",
    "Phase",
    "Reconstructs",
    "Restores",
    "ScoresAnomaly",
    "Segments",
    "Terms",
    "capabilities",
    "cosine",
]

Terms = Mapping[str, Float[Tensor, " rows"]]

MODEL_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
"""Pattern of the names of experiments, and so of models in a store."""


@dataclass(frozen=True)
class Outcome:
    """Result of a phase on a batch."""

    terms: Terms
    """Loss terms with one value per row; the loop takes their mean over the global batch. A term without a gradient is
    only logged. A row's terms depend on that row alone."""
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that are summed over the rows of the global batch, such as counts, and given to ``after_step``."""


@dataclass(frozen=True)
class Phase:
    """One optimizer step: the parameters it moves, and the named terms whose sum it lowers."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    terms: Callable[[Batch, Noise], Outcome]
    noise: Mapping[str, NoiseSpec] = field(default_factory=dict)
    """Streams that ``terms`` takes; normal ones come on the device of the images, uniform ones on the CPU."""
    beta1: float = 0.9
    """Decay rate of Adam's first moment that suits this phase."""
    beta2: tuple[float, float] = (0.99, 0.99)
    """Decay rates of Adam's second moment at the start and at the end of the training."""
    lr: float = 1.0
    """Factor on the learning rate of the schedule (two time scales; Heusel et al. 2017)."""
    every: int = 1
    """Period of the phase in steps; it runs in the first one."""

    def betas(self, progress: float) -> tuple[float, float]:
        """Return Adam's decay rates at a share of the training."""
        return self.beta1, cosine(*self.beta2, progress)


def cosine(start: float, end: float, progress: float) -> float:
    """Return a value that goes from a start to an end along half a cosine.

    >>> [round(cosine(2.0, 0.2, progress), 2) for progress in (0.0, 0.5, 1.0)]
    [2.0, 1.1, 0.2]
    """
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class Model(nn.Module, ABC):
    """Networks and the phases that train them; images are in [-1, 1].

    Which protocols below its class fulfils says what else it can do.
    """

    inference_modules: ClassVar[tuple[str, ...]]
    """Submodules that a bundle keeps; their weights are averaged during training."""

    def __init__(self, image: ImageSpec, *, conditional: bool = False) -> None:
        super().__init__()
        self.image = image
        self.num_classes = len(image.classes) if conditional else 0
        self.progress = 0.0
        """Share of the training that is over, which the loop sets before each step."""

    @property
    def conditional(self) -> bool:
        """Whether ``labels`` change what the model does."""
        return self.num_classes > 0

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """Return the optimizer steps that make up one training step, in order."""

    def after_step(self, sums: Mapping[str, Tensor]) -> None:
        """Change what gradients do not, given the sums of a step's phases by ``phase/name``.

        They are the same in every process. What changes must be a buffer: checkpoints keep buffers, and a step that is
        not finite leaves them as they were.
        """


class BaseModelConfig(Config, ABC):
    """What the configs of all models have in common."""

    @classmethod
    @abstractmethod
    def builds(cls) -> type[Model]:
        """Return the model's class: what it can do is known before it is built."""

    @abstractmethod
    def build(self, image: ImageSpec) -> Model:
        """Build the model, its weights drawn from torch's global generator."""

    @property
    def pack(self) -> int:
        """How many consecutive images, all of one class, make one row of the terms (PacGAN; Lin et al. 2018)."""
        return 1


@runtime_checkable
class Generates(Protocol):
    """A model that draws images."""

    def sample_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``sample`` takes."""
        ...

    def sample(self, noise: Noise, labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch channel *space"]:
        """Turn noise into images; values may lie slightly outside [-1, 1]."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """A model that encodes images and decodes them again."""

    def reconstruct(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        """Return the reconstructions of images in [-1, 1], of the same shape."""
        ...


@runtime_checkable
class BoundsLikelihood(Protocol):
    """A model that bounds the likelihood of an image."""

    def bound_noise(self, particles: int = 1) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``bits_per_dim`` takes; the more particles, the tighter the bound."""
        ...

    def bits_per_dim(self, batch: Batch, noise: Noise) -> Float[Tensor, " batch"]:
        """Return an upper bound on the negative log-likelihood in bits per stored value; lower is better."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """A model with latents that can be inspected and changed."""

    def latent(self) -> Grid:
        """Return the shape of the latents of one image."""
        ...

    def encode(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        """Return the latents of images, (batch, channels, *size) of ``latent``."""
        ...

    def decode(self, latents: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        """Return the images of latents."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """A model that names the class of an image."""

    def class_logits(self, images: Tensor) -> Float[Tensor, "batch class"]:
        """Return a score for each class of ``image.classes``."""
        ...


@runtime_checkable
class Segments(Protocol):
    """A model that finds regions in an image."""

    def mask_logits(self, images: Tensor) -> Float[Tensor, "batch region *space"]:
        """Return a score for the background, then for each region of ``image.masks``, at each pixel."""
        ...


@runtime_checkable
class Restores(Protocol):
    """A model that restores degraded images."""

    def degrade_noise(self) -> Mapping[str, NoiseSpec]:
        """Return the streams that ``degrade`` takes."""
        ...

    def degrade(self, images: Tensor, noise: Noise) -> Tensor:
        """Return degraded images, the input of ``restore``: the one definition for training, evaluation and server."""
        ...

    def restore(self, inputs: Tensor) -> Tensor:
        """Return restored images."""
        ...


@runtime_checkable
class ScoresAnomaly(Protocol):
    """A model that finds what its training images do not show."""

    def anomaly(self, images: Tensor) -> tuple[Float[Tensor, "batch *space"], Float[Tensor, " batch"]]:
        """Return a map of how unusual each pixel is, and a score per image."""
        ...


CAPABILITIES: Mapping[str, Any] = {  # protocols, which mypy does not accept as types
    "generate": Generates,
    "reconstruct": Reconstructs,
    "bound": BoundsLikelihood,
    "encode": Encodes,
    "classify": Classifies,
    "segment": Segments,
    "restore": Restores,
    "score_anomaly": ScoresAnomaly,
}
"""What a model may be able to do, by the name that manifests, cards and metrics use."""


def capabilities(model: type[Model]) -> tuple[str, ...]:
    """Return what a model's class is able to do."""
    return tuple(name for name, protocol in CAPABILITIES.items() if issubclass(model, protocol))
