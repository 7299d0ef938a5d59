"""How much of an image lies at each spatial frequency."""

import torch
from jaxtyping import Float
from torch import Tensor

from rayology.metrics.bootstrap import Counts, Distance

__all__ = ["radial_power", "spectrum_distance"]

ROUNDING_POWER = (2 / 4095) ** 2 / 12  # the noise of rounding to 12 bits; no frequency of a stored image holds less


def radial_power(images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel ring"]:
    """Return the mean power in each ring of equal frequency, from one wave per image up to two pixels per wave."""
    height, width = images.shape[2:]
    num_rings = min(height, width) // 2
    rows = torch.fft.fftfreq(height, device=images.device)
    columns = torch.fft.fftfreq(width, device=images.device)
    ring = (torch.hypot(rows[:, None], columns[None]) * 2 * num_rings).round().long().flatten()

    member = torch.nn.functional.one_hot(ring).to(images.dtype)[:, 1 : num_rings + 1]
    power = torch.fft.fft2(images, norm="ortho").abs().square().flatten(start_dim=2)
    return power @ member / member.sum(dim=0)


def spectrum_distance(
    generated: Float[Tensor, "image channel ring"], real: Float[Tensor, "image channel ring"]
) -> Distance:
    """Return the root mean square over the rings of the difference of mean power, in dB."""

    def level(power: Float[Tensor, "image channel ring"], counts: Counts) -> Float[Tensor, "resample channel_ring"]:
        mean = counts @ power.flatten(start_dim=1).double() / counts.sum(dim=1, keepdim=True)
        return 10 * torch.log10(mean + ROUNDING_POWER)

    return lambda left, right: (level(generated, left) - level(real, right)).square().mean(dim=1).sqrt()
