"""Transforms of whole batches in 2-D and 3-D, with one value of each parameter per sample; pure and differentiable.

Images lie in [-1, 1], where -1 is nothing: air, or no signal. Axes are counted from the last: columns, rows, slices.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

__all__ = [
    "POLYNOMIAL",
    "bias_field",
    "blur",
    "coordinates",
    "cut_out",
    "gamma",
    "ghosting",
    "motion",
    "rotations",
    "warp",
]

Images = Float[Tensor, "batch channel *space"]
Values = Float[Tensor, " batch"]
Vectors = Float[Tensor, "batch axes"]

POLYNOMIAL = [powers for powers in itertools.product(range(4), repeat=3) if 0 < sum(powers) <= 3]
"""Powers of columns, rows and slices in the terms of a bias field of third order (Sudre et al. 2017)."""
TOE = 1e-3  # keeps the slope of a gamma curve finite at zero signal
CENTRE = 0.04  # share of the k-space lines, around the centre, that hold the contrast; ghosting leaves them alone


def coordinates(images: Images) -> list[Tensor]:
    """Return each axis' pixel centres between the borders -1 and 1, shaped to broadcast over the space."""
    space = images.shape[2:]
    axes = []
    for axis, length in enumerate(reversed(space), start=1):
        centres = (torch.arange(length, device=images.device, dtype=images.dtype) * 2 + 1) / length - 1
        axes.append(centres.view([-1 if place == len(space) - axis else 1 for place in range(len(space))]))
    return axes


def rotations(angles: Float[Tensor, "batch planes"], num_axes: int) -> Float[Tensor, "batch axes axes"]:
    """Return rotations by angles in the planes of columns and rows, columns and slices, rows and slices, in turn."""
    rotation = torch.eye(num_axes).to(angles).expand(len(angles), -1, -1)
    for angle, (one, other) in zip(angles.T, itertools.combinations(range(num_axes), 2), strict=False):
        turn = torch.eye(num_axes).to(angles).repeat(len(angles), 1, 1)
        turn[:, one, one] = turn[:, other, other] = angle.cos()
        turn[:, other, one] = angle.sin()
        turn[:, one, other] = -angle.sin()
        rotation = turn @ rotation
    return rotation


def warp(
    images: Images,
    linear: Float[Tensor, "batch axes axes"],
    shift: Vectors,
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    fill: float = -1.0,
) -> Images:
    """Fetch each pixel from ``linear @ place + shift``, in pixels from the image's centre; what lies outside is filled.

    It cannot be differentiated twice: take gradient penalties with respect to the transformed images.
    """
    half = torch.tensor(images.shape[:1:-1]).to(linear) / 2
    matrices = torch.cat([linear * half / half[:, None], (shift / half)[..., None]], dim=-1)
    grid = functional.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images - fill, grid, mode=mode, padding_mode="zeros", align_corners=False) + fill


def gamma(images: Images, gain: Values, offset: Values, power: Values) -> Images:
    """Raise the signal to a power, then scale and shift it; the toe of the curve is straight."""
    gain, offset, power = (_spread(each, images) for each in (gain, offset, power))
    signal = ((images + 1) / 2).clamp(min=0) + TOE
    toe = TOE**power
    curve = (signal**power - toe) / ((1 + TOE) ** power - toe)
    return 2 * (gain * curve + offset) - 1


def blur(images: Images, std: Values, *, max_std: float) -> Images:
    """Smooth with a Gaussian of ``std`` pixels, at most ``max_std``; the border's values are repeated outside."""
    reach = math.ceil(3 * max_std)
    distance = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernels = torch.softmax(-0.5 * (distance / std[:, None]) ** 2, dim=1)[:, None]
    for axis in range(2, images.ndim):
        if images.shape[axis] > 1:
            moved = images.movedim(axis, -1)
            lines = moved.reshape(len(images), -1, moved.shape[-1]).transpose(0, 1)
            padded = functional.pad(lines, (reach, reach), mode="replicate")
            smooth = functional.conv1d(padded, kernels, groups=len(images))
            images = smooth.transpose(0, 1).reshape(moved.shape).movedim(-1, axis)
    return images


def cut_out(images: Images, centres: Vectors, share: Values) -> Images:
    """Empty a box whose sides are a share of the image's, around a centre between -1 and 1 (DeVries & Taylor 2017)."""
    inside = torch.ones((), dtype=torch.bool, device=images.device)
    for places, centre in zip(coordinates(images), centres.T, strict=False):
        inside = inside & ((places - _spread(centre, images)).abs() <= _spread(share, images))
    return images.masked_fill(inside, -1.0)


def bias_field(images: Images, weights: Float[Tensor, "batch terms"]) -> Images:
    """Multiply the signal by a smooth field, the exponential of a polynomial (Van Leemput et al. 1999)."""
    axes = coordinates(images)
    logarithm = torch.zeros((), device=images.device, dtype=images.dtype)
    for weight, powers in zip(weights.T, POLYNOMIAL, strict=True):
        if not any(powers[len(axes) :]):
            term = math.prod((place**power for place, power in zip(axes, powers, strict=False)), start=1.0)
            logarithm = logarithm + _spread(weight, images) * term
    return (images + 1) * logarithm.exp() - 1


def ghosting(images: Images, axis: int, num_ghosts: Values, strength: Values) -> Images:
    """Weaken every n-th line of k-space, as breathing and pulse do (Axel et al. 1986); keep the real part."""
    lines = torch.fft.fftfreq(images.shape[axis], 1 / images.shape[axis], device=images.device).round().abs()
    lines = lines.to(images.dtype).view([-1] + [1] * (-axis - 1))
    is_hit = (lines % _spread(num_ghosts, images) == 0) & (lines > CENTRE / 2 * images.shape[axis])
    spectrum = torch.fft.fft(images + 1, dim=axis) * (1 - _spread(strength, images) * is_hit)
    return torch.fft.ifft(spectrum, dim=axis).real - 1


def motion(images: Images, axis: int, moments: Vectors, shifts: Sequence[Vectors]) -> Images:
    """Shift the lines of k-space before one moment and after another one, as a moving patient does (Shaw et al. 2019).

    Moments, between 0 and 1, count from the centre of k-space to its ends; shifts are pixels along columns and rows,
    within a slice. The real part is kept, which is linear in the image.
    """
    spectrum = torch.fft.fft2(images + 1)
    columns, rows = (
        torch.fft.fftfreq(images.shape[place], device=images.device, dtype=images.dtype).view([-1] + [1] * (-place - 1))
        for place in (-1, -2)
    )
    lines = (columns, rows)[-axis - 1]
    for sign, moment, shift in zip((-1, 1), moments.T, shifts, strict=True):
        turns = columns * _spread(shift[:, 0], images) + rows * _spread(shift[:, 1], images)
        moved = spectrum * torch.polar(torch.ones_like(turns), -2 * math.pi * turns)
        spectrum = torch.where(2 * sign * lines > _spread(moment, images), moved, spectrum)
    return torch.fft.ifft2(spectrum).real - 1


def _spread(values: Values, images: Images) -> Tensor:
    """Shape one value per sample to broadcast over its image."""
    return values.view([-1] + [1] * (images.ndim - 1))
