"""What every model is to the training loop, the bundle and the server."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from rayology.image import Batch, ImageSpec

__all__ = ["Capability", "Draws", "Model", "Phase", "Reconstructs", "Terms"]

Capability = Literal["generate", "reconstruct"]
Terms = Mapping[str, Float[Tensor, " batch"]]


@dataclass(frozen=True)
class Draws:
    """What chance decides of each sample in a phase."""

    noise: Float[Tensor, "batch noise"]
    """Standard normal, for the latents; on the device of the images."""
    uniform: Float[Tensor, "batch draws"]
    """Between 0 and 1, as many as the phase asks for; on the CPU, where it is looked at."""

    def __getitem__(self, rows: slice) -> "Draws":
        """Return what chance decides of some rows of the batch."""
        return Draws(self.noise[rows], self.uniform[rows])


@dataclass(frozen=True)
class Phase:
    """One optimizer step: the parameters it moves, and the named terms whose sum it lowers."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    terms: Callable[[Batch, Draws], Terms]
    """Maps a batch and its draws to loss terms, one value a sample each; one without a gradient is merely logged."""
    betas: tuple[float, float] = (0.9, 0.99)
    """The decay rates of Adam's two moments that suit this phase."""
    num_draws: int = 0
    """How many uniform numbers a sample takes."""


class Model(nn.Module, ABC):
    """A generative model of images in [-1, 1]."""

    capabilities: ClassVar[tuple[Capability, ...]] = ("generate",)
    served: ClassVar[tuple[str, ...]]
    """The submodules that a bundle keeps; their weights are averaged during training."""

    def __init__(self, image: ImageSpec, *, noise_size: int, conditional: bool) -> None:
        super().__init__()
        self.image = image
        self.noise_size = noise_size
        self.num_classes = len(image.classes) if conditional else 0

    @property
    def conditional(self) -> bool:
        """Whether ``labels`` change what is drawn."""
        return self.num_classes > 0

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """Return the optimizer steps that make up one training step, in order."""

    def adapt(self, figures: Mapping[str, Float[Tensor, ""]], *, num_images: int) -> None:
        """Change what no gradient does, after a step over ``num_images`` images.

        The figures are those that are logged: each term's mean over the images, the same in every process.
        """

    @abstractmethod
    def sample(
        self, noise: Float[Tensor, "batch noise"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel *space"]:
        """Turn standard normal noise into images; values may lie slightly outside [-1, 1]."""


@runtime_checkable
class Reconstructs(Protocol):
    """A model that can bring an image to its latents and back, and bounds its likelihood."""

    noise_size: int

    def reconstruct(self, images: Tensor, labels: Int[Tensor, " batch"]) -> Tensor:
        """Return what the model keeps of images in [-1, 1], of the same shape."""
        ...

    def bound(self, batch: Batch, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, " batch"]:
        """Return the negative evidence lower bound in bits a stored value; lower is better."""
        ...
