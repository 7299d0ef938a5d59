"""Turn stored pixels into modality units: frames, padding, modality transformation, photometric interpretation."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import convert_color_space, get_decoder, pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian

from rayology.data.dicom.codecs import decode_frame, has_codec
from rayology.data.dicom.geometry import functional_group, functional_groups
from rayology.data.dicom.layout import Layout
from rayology.data.dicom.lookup import in_colour, modality_table
from rayology.data.dicom.values import content, decimals, has, text
from rayology.errors import UnreadableImage, UnsupportedSyntax

__all__ = ["in_modality_units", "known_syntax", "padding", "stored_frames", "to_rgb"]

Frame = Callable[[], NDArray[np.generic]]
"""Decodes a frame when called."""
EXACT_IN_FLOAT32 = 2**24
"""Integer up to which float32 represents all integers."""


def stored_frames(dataset: Dataset, layout: Layout) -> Iterator[Frame]:
    """Yield for each frame a function that decodes its stored pixels, (rows, columns, samples).

    Raises:
        UnsupportedSyntax: nothing decodes the transfer syntax.
        UnreadableImage: frames are missing, or contradict the header.
    """
    if has_codec(layout.syntax):
        return _compressed(dataset, layout)
    if layout.is_native:
        return _uncompressed(dataset, layout)
    _check_decoder(layout.syntax)
    return _decoded_by_pydicom(dataset, layout)


def known_syntax(syntax: UID) -> str:
    """Return the name of a transfer syntax, or a phrase if it is not known, because a file may hold any text there."""
    if syntax.is_private:
        return "a private transfer syntax"
    return "an unknown transfer syntax" if syntax.name == str(syntax) else str(syntax.name)


def to_rgb(dataset: Dataset, layout: Layout, stored: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a frame in colour as RGB: through its palette, in 8 bits, or from YBR, which codecs turn themselves."""
    if layout.photometric == "PALETTE COLOR":
        return in_colour(stored[..., 0], dataset)
    if layout.photometric.startswith("YBR_FULL") and not has_codec(layout.syntax):
        return np.asarray(convert_color_space(stored, "YBR_FULL", "RGB"))
    return stored


def padding(dataset: Dataset, layout: Layout, stored: NDArray[np.generic]) -> NDArray[np.bool_] | None:
    """Return where a stored grey frame holds padding, one value or a range; None if the file declares none.

    DICOM PS3.3 C.7.5.1.1.2.
    """
    for prefix in ("Float", "DoubleFloat", ""):
        if not has(dataset, f"{prefix}PixelPaddingValue"):
            continue
        first = dataset.get(f"{prefix}PixelPaddingValue")
        last = dataset.get(f"{prefix}PixelPaddingRangeLimit")
        if isinstance(first, int | float):
            first = _as_stored(first, layout)
            last = _as_stored(last, layout) if isinstance(last, int | float) else first
            return np.greater_equal(stored, min(first, last)) & np.less_equal(stored, max(first, last))
    return None


def in_modality_units(dataset: Dataset, layout: Layout, stored: NDArray[np.generic], frame: int) -> NDArray[np.float32]:
    """Apply the Modality LUT or the frame's rescale, and turn MONOCHROME1 (DICOM PS3.3 C.11.1, C.7.6.3.1.2).

    A turned value is ``highest representable + lowest representable - value``, so that high is bright in every
    image. CT is never turned, because Hounsfield units are physical.
    """
    turned = layout.photometric == "MONOCHROME1" and text(dataset, "Modality") != "CT" and layout.keyword == "PixelData"
    table = modality_table(dataset)
    if table:
        values = table(stored).astype(np.float64)
        if turned:
            values = table(np.array(layout.lowest_and_highest)).astype(np.float64).sum() - values
        return values.astype(np.float32)

    slope, intercept = _rescale(dataset, frame)
    if turned:
        total = sum(bound * slope + intercept for bound in layout.lowest_and_highest)
        slope, intercept = -slope, total - intercept
    return _scaled(stored, slope, intercept)


def _scaled(stored: NDArray[np.generic], slope: float, intercept: float) -> NDArray[np.float32]:
    """Return ``stored * slope + intercept`` rounded from float64, computed in float32 if the result is the same."""
    largest = 2.0 ** (8 * stored.dtype.itemsize) * abs(slope) + abs(intercept)
    if largest > np.finfo(np.float32).max:
        raise UnreadableImage(f"rescale slope {slope:g} and intercept {intercept:g} exceed float32; correct the header")
    is_exact = slope.is_integer() and intercept.is_integer() and largest <= EXACT_IN_FLOAT32
    kind = np.dtype(np.float32 if is_exact and stored.dtype.kind != "f" else np.float64)
    values = stored.astype(kind)  # then in place, which is faster than arithmetic that converts types
    if slope != 1:
        values *= kind.type(slope)
    values += kind.type(intercept)
    return values.astype(np.float32, copy=False)


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    """Return slope and intercept of a frame, 1 and 0 by default."""
    group = functional_group(functional_groups(dataset, frame), "PixelValueTransformationSequence", dataset)
    slope, intercept = (decimals(group, f"Rescale{name}") for name in ("Slope", "Intercept"))
    found = (slope[0] if slope else 1.0, intercept[0] if intercept else 0.0)
    if found[0] == 0 or not all(map(math.isfinite, found)):
        raise UnreadableImage(f"rescale slope {found[0]} and intercept {found[1]} give no values; correct the header")
    return found


def _as_stored(value: float, layout: Layout) -> float:
    """Read a padding value that was written unsigned as the signed value it stands for."""
    written_unsigned = layout.signed and layout.keyword == "PixelData" and value >= 1 << (layout.bits_allocated - 1)
    return value - (1 << layout.bits_allocated) if written_unsigned else value


def _uncompressed(dataset: Dataset, layout: Layout) -> Iterator[Frame]:
    if layout.photometric == "YBR_FULL_422" or layout.syntax == ExplicitVRBigEndian:
        yield from _decoded_by_pydicom(dataset, layout)
        return
    values = np.frombuffer(content(dataset, layout.keyword), np.uint8)
    if layout.bits_allocated == 1:
        yield from _single_bits(values, layout)
        return
    size = layout.values_a_frame * layout.dtype.itemsize
    if len(values) < size * layout.frames:
        raise UnreadableImage(f"holds {len(values)} bytes of pixels, not {size * layout.frames}; truncated")
    for start in range(0, size * layout.frames, size):
        yield partial(_laid_out, values[start : start + size].view(layout.dtype), layout)


def _single_bits(packed: NDArray[np.uint8], layout: Layout) -> Iterator[Frame]:
    """Yield frames of single bits, which follow each other without a gap (DICOM PS3.5 8.1.1)."""
    size = layout.values_a_frame
    if 8 * len(packed) < size * layout.frames:
        raise UnreadableImage(f"holds {8 * len(packed)} of {size * layout.frames} single bits; truncated")
    for start in range(0, size * layout.frames, size):
        yield partial(_unpacked, packed[start // 8 : -(-(start + size) // 8)], start % 8, layout)


def _unpacked(packed: NDArray[np.uint8], skipped: int, layout: Layout) -> NDArray[np.generic]:
    """Unpack a frame, the lowest bit of each byte first."""
    bits = np.unpackbits(packed, bitorder="little")[skipped : skipped + layout.values_a_frame]
    return layout.corrected(bits.reshape(layout.shape))


def _laid_out(stored: NDArray[np.generic], layout: Layout) -> NDArray[np.generic]:
    """Shape the values of an uncompressed frame."""
    if layout.by_plane and layout.samples > 1:
        planes = stored.reshape(layout.samples, layout.rows, layout.columns)
        return layout.corrected(np.moveaxis(planes, 0, -1))
    return layout.corrected(stored.reshape(layout.shape))


def _compressed(dataset: Dataset, layout: Layout) -> Iterator[Frame]:
    """Find the codestream of each frame, its fragments joined (DICOM PS3.5 A.4)."""
    tables = [dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    offsets = tuple(tables) if all(tables) else None
    found = generate_frames(content(dataset, layout.keyword), number_of_frames=layout.frames, extended_offsets=offsets)
    count = 0
    for codestream in islice(found, layout.frames):
        yield partial(decode_frame, codestream, layout)
        count += 1
    if count < layout.frames:
        raise UnreadableImage(f"holds {count} of {layout.frames} frames; truncated")


def _decoded_by_pydicom(dataset: Dataset, layout: Layout) -> Iterator[Frame]:
    for frame in range(layout.frames):
        yield partial(_frame_by_pydicom, dataset, layout, frame)


def _frame_by_pydicom(dataset: Dataset, layout: Layout, frame: int) -> NDArray[np.generic]:
    decoded = pixel_array(dataset, index=frame, raw=True, allow_excess_frames=False)
    return layout.corrected(np.asarray(decoded).reshape(layout.shape))


def _check_decoder(syntax: UID) -> None:
    try:
        available = bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        available = False
    if not available:
        raise UnsupportedSyntax(
            f"nothing installed decodes {known_syntax(syntax)}; rewrite it as JPEG-LS or uncompressed, "
            "or install a decoder plugin of pydicom"
        )
