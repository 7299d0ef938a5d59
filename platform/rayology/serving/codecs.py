"""Bytes to arrays and back: PNG grey levels mapped linearly to a range of values, and NPY as they are."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from tokenize import TokenError
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from rayology.errors import RequestError
from rayology.image import ValueRange
from rayology.picture import contact_sheet, upright

__all__ = ["MAX_VALUES", "decode_latents", "decode_npy", "decode_png", "encode_npy", "encode_png", "encode_zip"]

Array = NDArray[np.float32]
Shape = tuple[int, ...]

MAX_SIDE = 4096  # of an image to read: a small file can unfold to any size
MAX_VALUES = 2**22  # of an image to read, over all its channels, unless the model takes larger ones: as float32, 17 MB
MAX_HEADER_BYTES = 10_000  # of an NPY, as numpy's own limit: its header is parsed as Python
DAMAGED = "the PNG is damaged: send the whole file"
FASTEST = 1  # of zlib: what computes images should not spend longer on a tenth fewer bytes
GREY_LEVELS = {"L": 255, "I;16": 65535, "RGB": 255}


def encode_png(images: Array, values: ValueRange, *, text: Mapping[str, str]) -> bytes:
    """Return images in modality units as one 8-bit PNG: one alone, several on a sheet, row by row.

    Three channels become a colour image; any other number of them stand side by side. A volume is shown as its middle
    axial, coronal and sagittal plane.

    Args:
        images: (count, channel, height, width), or (count, channel, slices, height, width).
        values: ``low`` becomes black, ``high`` white.
        text: what the file says about itself (PNG specification, section 11.3.3).
    """
    levels = np.rint((images - np.float32(values.low)) * np.float32(255 / (values.high - values.low)))
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)

    file = BytesIO()
    contact_sheet(np.clip(levels, 0, 255).astype(np.uint8)).save(
        file, format="png", pnginfo=chunks, compress_level=FASTEST
    )
    return file.getvalue()


def decode_png(body: bytes, values: ValueRange, *, channels: int) -> Array:
    """Return the image of a PNG as (1, channel, height, width) in modality units.

    Raises:
        RequestError: the body is not a PNG, is damaged or too large, or has another number of channels.
    """
    picture = _open_png(body)
    _check_size(len(picture.getbands()), picture.height, picture.width)
    highest = GREY_LEVELS.get(picture.mode)
    expected = "RGB" if channels == 3 else "8 or 16-bit grey"
    if channels not in (1, 3) or highest is None or (picture.mode == "RGB") != (channels == 3):
        other = "application/x-npy" if channels not in (1, 3) else f"a PNG in {expected}, or application/x-npy"
        raise RequestError(f"the PNG is {picture.mode}, the model takes {channels} channels: send {other}")

    levels = _levels(picture)
    image = (levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)).astype(np.float32, order="C")
    image *= (values.high - values.low) / highest
    image += values.low
    return image[None]


def encode_npy(images: Array) -> bytes:
    """Return an array as an NPY file (NumPy enhancement proposal 1)."""
    file = BytesIO()
    npy.write_array(file, images, allow_pickle=False)
    return file.getvalue()


def decode_npy(body: bytes, *, channels: int, num_axes: int = 2, max_values: int = MAX_VALUES) -> Array:
    """Return the images of an NPY as (count, channel, height, width), or its volumes with ``slices`` before height.

    A single image may also come without count, or without count and channel. All numbers are finite.

    Raises:
        RequestError: the body is not an NPY, is damaged, or holds something else.
    """
    return _read_npy(body, partial(_axes_of_images, channels=channels, num_axes=num_axes, max_values=max_values))


def decode_latents(body: bytes, *, latent: Shape) -> Array:
    """Return the latents of an NPY as (count, *latent); those of a single image may come without count, all are finite.

    Raises:
        RequestError: as ``decode_npy``.
    """
    return _read_npy(body, partial(_axes_of_latents, latent=latent))


def encode_zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return files, by their names, as a ZIP that stores them as they are; equal files give equal bytes."""
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, content in files:
            archive.writestr(ZipInfo(name), content)  # dated 1980-01-01
    return packed.getvalue()


def _open_png(body: bytes) -> Image.Image:
    """Read the header of a PNG, and none of its pixels."""
    try:
        return Image.open(BytesIO(body), formats=("PNG",))
    except UnidentifiedImageError:
        raise RequestError("the body is not a PNG: send a PNG file, or an NPY file as application/x-npy") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise RequestError(f"the PNG is far too large: send at most {MAX_SIDE} rows and columns") from None
    except (OSError, SyntaxError, ValueError):
        raise RequestError(DAMAGED) from None


def _levels(picture: Image.Image) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        picture.load()
    except (OSError, SyntaxError, ValueError):
        raise RequestError(DAMAGED) from None
    return np.asarray(upright(picture))


def _read_npy(body: bytes, to_axes: Callable[[Shape], Shape]) -> Array:
    """Read finite numbers without trusting their header: no array is made for a shape that the body does not hold.

    Args:
        body: the file.
        to_axes: function from the shape in the header to that of the array; raises RequestError.
    """
    file = BytesIO(body)
    try:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
        shape, is_fortran, dtype = read_header(file, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError):
        raise RequestError("the body is not an NPY of version 1 or 2: write it with numpy.save") from None

    if dtype.kind not in "fiub":
        raise RequestError(f"the NPY holds {dtype}: send real numbers, best float32")
    if min(shape, default=1) < 1:
        raise RequestError("the NPY has a shape with an axis below 1: send one image or more, each with pixels")
    numbers = memoryview(body)[file.tell() :]
    if len(numbers) != math.prod(shape) * dtype.itemsize:
        raise RequestError(f"the NPY has another shape than its {len(numbers)} bytes of {dtype}: send the whole file")

    axes = to_axes(shape)
    array = np.frombuffer(numbers, dtype).reshape(shape, order="F" if is_fortran else "C").reshape(axes)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise RequestError("the NPY holds values that float32 cannot hold as finite numbers: replace them")
    return values


def _axes_of_latents(shape: Shape, *, latent: Shape) -> Shape:
    axes = (1,) * (len(latent) + 1 - len(shape)) + shape
    if len(shape) < len(latent) or axes[1:] != latent:
        wanted = ", ".join(map(str, latent))
        raise RequestError(f"the NPY has the shape {shape}: send latents of the shape ({wanted}) or (count, {wanted})")
    return axes


def _axes_of_images(shape: Shape, *, channels: int, num_axes: int, max_values: int) -> Shape:
    axes = (1,) * (num_axes + 2 - len(shape)) + shape
    if not num_axes <= len(shape) <= num_axes + 2 or axes[1] != channels:
        space = "slices, height, width" if num_axes == 3 else "height, width"
        raise RequestError(
            f"the NPY has the shape {shape}: send ({space}), ({channels}, {space}) or (count, {channels}, {space})"
        )
    _check_size(*axes[1:], max_values=max_values)
    return axes


def _check_size(channels: int, *sides: int, max_values: int = MAX_VALUES) -> None:
    found = "x".join(map(str, sides))
    if max(sides) > MAX_SIDE:
        raise RequestError(f"the image has {found} pixels: send at most {MAX_SIDE} along each axis")
    if channels * math.prod(sides) > max_values:
        most = next(side for side in range(MAX_SIDE, 0, -1) if channels * side ** len(sides) <= max_values)
        raise RequestError(
            f"the image has {found} pixels and {channels} channels: send at most {max_values} values, "
            f"such as {'x'.join([str(most)] * len(sides))} pixels"
        )
