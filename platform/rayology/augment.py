"""Random transforms of a whole batch on its device, drawn for the global batch at once."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from pydantic import Field
from torch import Tensor

from rayology import transforms
from rayology.config import Config
from rayology.noise import NoiseSpec

__all__ = ["NOISE", "AugmentConfig", "Augmentation"]

Images = Float[Tensor, "batch channel *space"]
Probability = Annotated[float, Field(ge=0, le=1)]

MAX_DEGREES = 15.0
MAX_SHIFT = 0.1  # of a side
MAX_SCALE = 1.2
MIN_CROP = 0.7  # of a side
MAX_GAIN, MAX_OFFSET, MAX_GAMMA = 1.2, 0.1, 1.5
MAX_NOISE = 0.1  # standard deviation
MAX_BLUR = 1.5  # pixels
MAX_CUTOUT = 0.5  # of a side
MAX_BIAS = 0.1  # of each weight: by a third at the edge, seldom more
MIN_GHOSTS, MAX_GHOSTS, MAX_GHOSTING = 2.0, 8.0, 0.6  # the last: of the lines' weight
MIN_MOMENT, MAX_MOTION = 0.1, 0.05  # of half the lines; of a side


class AugmentConfig(Config):
    """Probabilities of random transforms, each drawn independently; all are off by default.

    A generative model learns to draw whatever its real images went through. Give a GAN these in ``model.adaptive``,
    which transforms real and generated images alike (Karras et al. 2020), and give any other generative model none.
    """

    mirror: Probability = 0.0
    """Probability of exchanging left and right; wrong wherever laterality counts, as in the thorax and the abdomen."""
    flip: Probability = 0.0
    """Probability of reversing the rows and, independently, the order of a volume's slices."""
    rotate: Probability = 0.0
    """Probability of a rotation by up to 15 degrees, in volumes about each axis; voxels count as cubes."""
    translate: Probability = 0.0
    """Probability of a shift by up to a tenth of each side; -1 fills the gap."""
    scale: Probability = 0.0
    """Probability of a magnification between 1/1.2 and 1.2."""
    crop: Probability = 0.0
    """Probability of enlarging a window of 0.7 to 1 of each side to the full size (Szegedy et al. 2015)."""
    intensity: Probability = 0.0
    """Probability of another gain (1/1.2 to 1.2), offset (up to 0.1 of the range) and gamma (1/1.5 to 1.5), as Isensee
    et al. (2021)."""
    noise: Probability = 0.0
    """Probability of Gaussian noise with a standard deviation of up to 0.1."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur with a standard deviation of up to 1.5 pixels."""
    cutout: Probability = 0.0
    """Probability of emptying a box of up to half of each side (DeVries & Taylor 2017)."""
    bias_field: Probability = 0.0
    """Probability of the smooth shading of an MR coil (Van Leemput et al. 1999)."""
    ghosting: Probability = 0.0
    """Probability of two to eight faint copies along one axis, as breathing causes in MR (Axel et al. 1986)."""
    motion: Probability = 0.0
    """Probability of two movements by up to 0.05 of a side during an MR acquisition (Shaw et al. 2019)."""

    @property
    def is_on(self) -> bool:
        """Whether anything may happen to an image."""
        return any(getattr(self, name) for name in NUM_UNIFORM)

    def draw(self, count: int, *, generator: torch.Generator, strength: float | Tensor = 1.0) -> "Augmentation":
        """Draw what happens to each sample of a global batch, whichever rows this process has.

        ``strength``, from 0 to 1, multiplies every probability: the dial of adaptive augmentation.
        """
        uniform = torch.rand(count, *NOISE.shape, generator=generator, dtype=torch.float64)
        return Augmentation(self, uniform, float(strength))


NUM_UNIFORM = {
    "mirror": 1,
    "flip": 2,
    "rotate": 1 + 3,
    "translate": 1 + 3,
    "scale": 1 + 1,
    "crop": 1 + 1 + 3,
    "intensity": 1 + 3,
    "noise": 1 + 2,
    "blur": 1 + 1,
    "cutout": 1 + 1 + 3,
    "bias_field": 1 + len(transforms.POLYNOMIAL),
    "ghosting": 1 + 3,
    "motion": 1 + 1 + 2 + 4,
}
"""Uniform values that each transform takes per sample: first whether it happens, then how; the same in 2-D and 3-D."""
NOISE = NoiseSpec((sum(NUM_UNIFORM.values()),), "uniform")
"""The random input of one sample."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to each sample of a batch."""

    config: AugmentConfig
    uniform: Float[Tensor, "batch uniform"]
    strength: float = 1.0

    def __getitem__(self, rows: slice) -> "Augmentation":
        """Return what happens to some rows of the batch."""
        return replace(self, uniform=self.uniform[rows])

    def images(self, images: Images) -> Images:
        """Return transformed images; untouched ones are the same, bit for bit.

        Geometric transforms keep values in [-1, 1]; intensity transforms may leave it slightly.
        """
        images = self._placed(images, "bilinear", fill=-1.0)
        for name, change in INTENSITY.items():
            drawn = self._drawn(name)
            chosen = drawn[:, 0] < self._limit(name)
            images = _changed(images, chosen, functools.partial(change, drawn[chosen, 1:]))
        return images

    def masks(self, masks: Shaped[Tensor, "batch *space"]) -> Shaped[Tensor, "batch *space"]:
        """Return masks moved like the images, by nearest neighbour; 0 fills the gaps."""
        return self._placed(masks[:, None].float(), "nearest", fill=0.0)[:, 0].to(masks.dtype)

    def _placed(self, images: Images, mode: Literal["bilinear", "nearest"], fill: float) -> Images:
        """Apply the geometric transforms: flips are exact, the rest is one interpolation."""
        flips = torch.cat([self._drawn("mirror"), self._drawn("flip")], dim=1)
        for axis in range(1, images.ndim - 1):
            chosen = flips[:, axis - 1] < self._limit("mirror" if axis == 1 else "flip")
            images = _changed(images, chosen, functools.partial(torch.flip, dims=(-axis,)))
        chosen = torch.stack([self._drawn(name)[:, 0] < self._limit(name) for name in AFFINE]).any(dim=0)
        linear, shift = self._affine(images.shape[2:])
        move = functools.partial(transforms.warp, linear=linear[chosen], shift=shift[chosen], mode=mode, fill=fill)
        return _changed(images, chosen, move)

    def _affine(self, space: Sequence[int]) -> tuple[Float[Tensor, "batch axes axes"], Float[Tensor, "batch axes"]]:
        """Return where each pixel comes from; nothing moves along an axis of one pixel."""
        extent = torch.tensor([length if length > 1 else 0 for length in reversed(space)]).double()
        axes = range(len(space))
        angle, shift, scale, crop = (self._values(name) for name in AFFINE)
        is_plane = [float(extent[one] * extent[other] > 0) for one, other in itertools.combinations(axes, 2)]
        planes = torch.tensor(is_plane).double()
        angles = _signed(angle[:, : len(planes)], math.radians(MAX_DEGREES)) * planes
        window = 1 - crop[:, :1] * (1 - MIN_CROP)
        zoom = window * MAX_SCALE ** _signed(scale)
        linear = transforms.rotations(angles, len(space)) * zoom[..., None]
        moved = _signed(shift[:, : len(space)], MAX_SHIFT) + _signed(crop[:, 1 : 1 + len(space)]) * (1 - window) / 2
        return linear, moved * extent

    def _values(self, name: str) -> Float[Tensor, "batch values"]:
        """Return each sample's uniform values of a transform, or its idle ones if it does not happen."""
        drawn = self._drawn(name)
        return torch.where(drawn[:, :1] < self._limit(name), drawn[:, 1:], IDLE[name].double())

    def _drawn(self, name: str) -> Float[Tensor, "batch values"]:
        start = sum(count for each, count in itertools.takewhile(lambda item: item[0] != name, NUM_UNIFORM.items()))
        return self.uniform[:, start : start + NUM_UNIFORM[name]]

    def _limit(self, name: str) -> float:
        """Return the value below which a transform happens."""
        probability: float = getattr(self.config, name)
        return probability * self.strength


AFFINE = ("rotate", "translate", "scale", "crop")
IDLE = {
    "rotate": torch.full((3,), 0.5),
    "translate": torch.full((3,), 0.5),
    "scale": torch.full((1,), 0.5),
    "crop": torch.tensor([0.0, 0.5, 0.5, 0.5]),
}
"""Uniform values at which nothing moves."""


def _bias_field(drawn: Tensor, images: Images) -> Images:
    return transforms.bias_field(images, _signed(drawn, MAX_BIAS).to(images))


def _intensity(drawn: Tensor, images: Images) -> Images:
    gain, offset, power = _signed(drawn).to(images).T
    return transforms.gamma(images, MAX_GAIN**gain, MAX_OFFSET * offset, MAX_GAMMA**power)


def _blur(drawn: Tensor, images: Images) -> Images:
    return transforms.blur(images, _between(drawn[:, 0], 0.1, MAX_BLUR).to(images), max_std=MAX_BLUR)


def _motion(drawn: Tensor, images: Images) -> Images:
    def moved(axis: int, drawn: Tensor, own: Images) -> Images:
        sides = torch.tensor([images.shape[-1], images.shape[-2]])
        shifts = [(_signed(each, MAX_MOTION) * sides).to(images) for each in drawn[:, 2:].split(2, dim=1)]
        return transforms.motion(own, axis, _between(drawn[:, :2], MIN_MOMENT, 1.0).to(images), shifts)

    return _along_an_axis(drawn, moved, images)


def _ghosting(drawn: Tensor, images: Images) -> Images:
    def ghosted(axis: int, drawn: Tensor, own: Images) -> Images:
        num_ghosts = _between(drawn[:, 0], MIN_GHOSTS, MAX_GHOSTS + 1).floor()
        return transforms.ghosting(own, axis, num_ghosts.to(images), (drawn[:, 1] * MAX_GHOSTING).to(images))

    return _along_an_axis(drawn, ghosted, images)


def _noise(drawn: Tensor, images: Images) -> Images:
    """Add noise from one generator per sample, so that it does not depend on other samples."""
    seeds = (drawn[:, 1] * 2**53).long().tolist()
    noise = [torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    std = (drawn[:, 0] * MAX_NOISE).to(images)
    return images + torch.stack(noise).to(images) * std.view([-1] + [1] * (images.ndim - 1))


def _cutout(drawn: Tensor, images: Images) -> Images:
    sides = torch.tensor(images.shape[:1:-1])
    centres = torch.where(sides > 1, _signed(drawn[:, 1 : 1 + len(sides)]), 0.0)
    return transforms.cut_out(images, centres.to(images), (drawn[:, 0] * MAX_CUTOUT).to(images))


INTENSITY: Mapping[str, Callable[[Tensor, Images], Images]] = {
    "bias_field": _bias_field,
    "intensity": _intensity,
    "blur": _blur,
    "motion": _motion,
    "ghosting": _ghosting,
    "noise": _noise,
    "cutout": _cutout,
}
"""Transforms that follow the geometric ones, in the order of their causes: body, signal, recording, noise."""


def _along_an_axis(drawn: Tensor, change: Callable[[int, Tensor, Images], Images], images: Images) -> Images:
    """Change each sample along its columns or its rows, depending on its first value."""
    for axis, chosen in ((-1, drawn[:, 0] < 0.5), (-2, drawn[:, 0] >= 0.5)):
        images = _changed(images, chosen, functools.partial(change, axis, drawn[chosen, 1:]))
    return images


def _changed(images: Images, chosen: Bool[Tensor, " batch"], change: Callable[[Images], Images]) -> Images:
    """Change the chosen samples and no bit of the others."""
    if not chosen.any():
        return images
    rows = chosen.nonzero()[:, 0].to(images.device)
    return images.index_copy(0, rows, change(images[rows]))


def _signed(uniform: Tensor, most: float = 1.0) -> Tensor:
    return (2 * uniform - 1) * most


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    return low + uniform * (high - low)
