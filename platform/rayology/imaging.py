"""Pure verbs on arrays of pixels: pad and average into a size, find grey in colour, and find a series' range."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["conform", "conform_mask", "conformed_spacing", "contrast", "foreground", "without_equal_channels"]

Floats = NDArray[np.float32] | NDArray[np.float64]

FOREGROUND_ABOVE = 0.05
"""What counts as foreground: this share of the way from the darkest to the brightest value, so fluid, but not air."""

SAME_GREY = 4
"""Most levels of 255, or parts of the brightest value above that, by which red and blue of grey differ from green.

Grey that JPEG and JPEG 2000 have coded comes back equal, by 2 apart if an encoder rounds chroma down, and by 4 from
JPEG-LS with an error of 2; a faint stain, on which haematoxylin absorbs an eighth of the light, is 11 apart.
"""


def without_equal_channels(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one channel, (1, ...), if there are three that are equal within rounding, else all of them."""
    green = pixels[1:2]  # nearest to luminance
    if len(pixels) != 3:
        return pixels
    most = SAME_GREY * max(1.0, pixels.max() / 255)
    parts = (np.s_[:, ::16], np.s_[:])  # colour usually shows in few rows
    return green if all(np.abs(pixels[::2][part] - green[part]).max() <= most for part in parts) else pixels


def conform(pixels: Floats, size: tuple[int, int], *, fill: float, aspect: float = 1.0) -> NDArray[np.float32]:
    """Bring (channels, rows, columns) to a size: pad centred to its aspect ratio, then average areas exactly.

    An output pixel is the mean of the area that it covers, ``fill`` where that lies outside; so means and constants
    are kept at any ratio, up or down. It is square, given the aspect of pixels: the height of one over its width.
    """
    over_row, over_column = _scales(pixels.shape[1:], size, aspect)
    excess = pixels - np.float64(fill)
    over_rows = _averaged(excess.swapaxes(1, 2), size[0], over_row).swapaxes(1, 2)
    return (_averaged(over_rows, size[1], over_column) + fill).astype(np.float32)


def conform_mask(mask: NDArray[np.uint8], size: tuple[int, int], *, aspect: float = 1.0) -> NDArray[np.uint8]:
    """Bring (rows, columns) of numbered regions to a size as ``conform`` does.

    A pixel lies inside if the regions cover at least half of it, and then in the one that covers most; of equals,
    in the first.
    """
    numbers = [int(number) for number in np.unique(mask) if number]
    layers = np.stack([mask > 0, *(mask == number for number in numbers[1:])]).astype(np.float32)
    inside, *later = conform(layers, size, fill=0.0, aspect=aspect)
    if not numbers:
        return np.zeros(size, np.uint8)
    shares = np.stack([inside - sum(later), *later])
    return np.where(inside >= 0.5, np.array(numbers, np.uint8)[shares.argmax(0)], 0).astype(np.uint8)


def conformed_spacing(
    spacing_mm: tuple[float, float], shape: tuple[int, int], size: tuple[int, int], *, aspect: float = 1.0
) -> tuple[float, float]:
    """Return the spacing of rows and columns after ``conform`` has brought a shape to a size."""
    over_row, over_column = _scales(shape, size, aspect)
    return (spacing_mm[0] * over_row, spacing_mm[1] * over_column)


def foreground(values: Floats, low: float, high: float) -> NDArray[np.bool_]:
    """Return which pixels show a body: values above a twentieth of the way from the darkest to the brightest."""
    return np.asarray(values > low + FOREGROUND_ABOVE * (high - low))


def contrast(values: Floats) -> tuple[float, float]:
    """Return the darkest and the brightest value of a whole series, a percent of outliers aside."""
    darkest, brightest = (float(bound) for bound in np.percentile(values, (0, 99)))
    return darkest, brightest


def _scales(shape: tuple[int, ...], size: tuple[int, int], aspect: float) -> tuple[float, float]:
    """Return how many rows and how many columns of the shape make one of the size."""
    columns = max(shape[0] * aspect / size[0], shape[1] / size[1])
    return columns / aspect, columns


def _averaged(values: NDArray[np.float64], target: int, scale: float) -> NDArray[np.float64]:
    """Average the last axis over equal lengths, the values lying centred and 0 outside.

    The difference of an integral is as exact as a product with overlap weights, and wakes no threads of a BLAS.
    """
    length = values.shape[-1]
    edges = np.clip((np.arange(target + 1) - target / 2) * scale + length / 2, 0, length)
    whole = np.minimum(edges.astype(np.intp), length - 1)
    integral = np.zeros((*values.shape[:-1], length + 1))
    np.cumsum(values, axis=-1, out=integral[..., 1:])
    return np.diff(integral[..., whole] + (edges - whole) * values[..., whole]) / scale
