"""How much of an image lies at each spatial frequency."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from rayology.image import VALUES_AT_ONCE, num_at_once
from rayology.metrics.bootstrap import Counts, Distance

__all__ = ["radial_power", "spectrum_distance"]

ROUNDING_POWER = (2 / 4095) ** 2 / 12  # the noise of rounding to 12 bits; no frequency of a stored image holds less


def radial_power(
    images: Float[Tensor, "image channel *space"], values_at_once: int = VALUES_AT_ONCE
) -> Float[Tensor, "image channel ring"]:
    """Return the mean power in each ring of equal frequency, from one wave per image up to two pixels per wave."""
    space = images.shape[2:]
    num_rings = min(space) // 2
    waves = torch.meshgrid(*(torch.fft.fftfreq(side, device=images.device) for side in space), indexing="ij")
    ring = (functools.reduce(torch.hypot, waves) * 2 * num_rings).round().flatten()

    member = (ring[:, None] == torch.arange(1, num_rings + 1, device=images.device)).to(images.dtype)
    parts = images.split(num_at_once(values_at_once, images.shape[1:]))
    return torch.cat([_power(part) @ member for part in parts]) / member.sum(dim=0)


def _power(images: Float[Tensor, "image channel *space"]) -> Float[Tensor, "image channel frequency"]:
    waves = torch.fft.fftn(images, dim=tuple(range(2, images.ndim)), norm="ortho")
    return waves.abs().square().flatten(start_dim=2)


def spectrum_distance(
    generated: Float[Tensor, "image channel ring"], real: Float[Tensor, "image channel ring"]
) -> Distance:
    """Return the root mean square over the rings of the difference of mean power, in dB."""

    def level(power: Float[Tensor, "image channel ring"], counts: Counts) -> Float[Tensor, "resample channel_ring"]:
        mean = counts @ power.flatten(start_dim=1).double() / counts.sum(dim=1, keepdim=True)
        return 10 * torch.log10(mean + ROUNDING_POWER)

    return lambda left, right: (level(generated, left) - level(real, right)).square().mean(dim=1).sqrt()
