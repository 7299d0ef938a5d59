"""Spectral normalisation: weights, as matrices, whose largest singular value is at most one (Miyato et al. 2018)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

__all__ = ["iterate", "normalise"]

FIRST_ITERATIONS = 15  # enough for a fresh weight's largest singular value; one a step then follows it


class SpectralNorm(nn.Module):
    """A weight, divided by its largest singular value if that is above one.

    A smaller one is left as it is, so that layers may start at zero. The power iteration moves once a step in place of
    in every forward pass, as torch's own does: what a batch is cut into would change it.
    """

    left: Float[Tensor, " outputs"]
    right: Float[Tensor, " inputs"]

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", functional.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("right", functional.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self.iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the normalised weight."""
        with torch.autocast("cpu" if weight.is_meta else weight.device.type, enabled=False):  # meta has none
            largest = self.left @ weight.flatten(1) @ self.right
            return weight / largest.clamp(min=1.0)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """Take a step of the power iteration; the vectors of a weight of zeros stay."""
        matrix = weight.flatten(1)
        self.right.copy_(_direction(matrix.T @ self.left, self.right))
        self.left.copy_(_direction(matrix @ self.right, self.left))


def _direction(vector: Tensor, otherwise: Tensor) -> Tensor:
    """Return a vector of length one, or another one if there is nothing to stretch."""
    return torch.where(vector.any(), functional.normalize(vector, dim=0), otherwise)


def normalise(network: nn.Module) -> None:
    """Normalise every convolution and linear layer of a network."""
    for layer in [*network.modules()]:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
            register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def iterate(network: nn.Module) -> None:
    """Let the power iterations of a network follow its weights."""
    for module in network.modules():
        if isinstance(module, ParametrizationList) and isinstance(norm := module[0], SpectralNorm):
            norm.iterate(module.original)
