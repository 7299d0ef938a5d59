"""From stored pixels to modality units: bits, sign, padding, modality transformation, photometric interpretation."""

import math

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import UID, RLELossless

from rayology.data.codestream import coded_size
from rayology.data.geometry import functional_group
from rayology.errors import UnreadableImage

__all__ = ["PIXEL_KEYWORDS", "frames", "in_modality_units", "known_syntax", "padding"]

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MAX_VALUES = 2**27
"""The most values that one file may unpack to: rows x columns x frames x samples."""

Stored = NDArray[np.int64] | NDArray[np.float64]


def frames(dataset: Dataset) -> NDArray[np.generic]:
    """Return the stored pixels as (frames, rows, columns, samples), bits and sign corrected, colour as RGB.

    Raises:
        UnreadableImage: there is no decoder, or the sizes are missing, too large or contradict the codestream.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    rows, columns, samples = (_size(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel"))
    if count * rows * columns * samples > MAX_VALUES:
        raise UnreadableImage(
            f"{count} frames of {rows} x {columns} x {samples} exceed {MAX_VALUES} values; split the file"
        )
    _check_bits(dataset)
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    _check_decoder(syntax)
    if syntax.is_encapsulated and syntax != RLELossless:
        _check_codestreams(dataset, count, (rows, columns))

    decoded = np.asarray(pixel_array(dataset, allow_excess_frames=False)).reshape(count, rows, columns, -1)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return np.asarray(apply_color_lut(decoded[..., 0], dataset))[..., :3]
    return decoded


def known_syntax(syntax: UID) -> str:
    """Return the name of a transfer syntax, or a phrase where the standard has none."""
    return "a private transfer syntax" if syntax.is_private or syntax.name == str(syntax) else str(syntax.name)


def padding(dataset: Dataset, stored: Stored) -> NDArray[np.bool_]:
    """Return where a stored monochrome frame holds padding: one value, or a range (DICOM PS3.3 C.7.5.1.1.2)."""
    for prefix in ("Float", "DoubleFloat", ""):
        first = dataset.get(f"{prefix}PixelPaddingValue")
        last = dataset.get(f"{prefix}PixelPaddingRangeLimit")
        if isinstance(first, int | float):
            first = _as_stored(first, dataset)
            last = _as_stored(last, dataset) if isinstance(last, int | float) else first
            return (stored >= min(first, last)) & (stored <= max(first, last))
    return np.zeros(stored.shape, np.bool_)


def in_modality_units(dataset: Dataset, stored: Stored, frame: int) -> NDArray[np.float32]:
    """Apply the Modality LUT or the frame's rescale, and turn MONOCHROME1 (DICOM PS3.3 C.11.1, C.7.6.3.1.2).

    A turned value is ``highest representable + lowest representable - value``, so that high is bright in every
    image. Hounsfield units are physical whatever a viewer should show, so CT is never turned.
    """
    values = _transformed(dataset, stored, frame)
    turned = dataset.PhotometricInterpretation == "MONOCHROME1" and dataset.get("Modality") != "CT"
    if turned and "PixelData" in dataset:
        values = _transformed(dataset, _representable(dataset), frame).sum() - values
    return values.astype(np.float32)


def _transformed(dataset: Dataset, stored: Stored, frame: int) -> NDArray[np.float64]:
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset), np.float64)
    rescale = functional_group(dataset, frame, "PixelValueTransformationSequence")
    slope, intercept = (_rescale(rescale, f"Rescale{name}") for name in ("Slope", "Intercept"))
    if slope == 0 or not math.isfinite(slope + intercept):
        raise UnreadableImage(f"rescale slope {slope} and intercept {intercept} give no values; correct the header")
    return np.asarray(stored * slope + intercept, np.float64)


def _rescale(dataset: Dataset, keyword: str) -> float:
    value = dataset.get(keyword)
    return float(value) if value is not None else float(keyword.endswith("Slope"))


def _representable(dataset: Dataset) -> NDArray[np.int64]:
    """Return the lowest and the highest value that Bits Stored and Pixel Representation allow."""
    levels = 1 << int(dataset.BitsStored)
    low = -levels // 2 if dataset.PixelRepresentation == 1 else 0
    return np.array([low, low + levels - 1], np.int64)


def _as_stored(value: float, dataset: Dataset) -> float:
    """Read a padding value that was written unsigned as the signed value it stands for."""
    bits = int(dataset.get("BitsAllocated") or 0)
    written_unsigned = dataset.get("PixelRepresentation") == 1 and "PixelData" in dataset and value >= 1 << (bits - 1)
    return value - (1 << bits) if written_unsigned else value


def _size(dataset: Dataset, keyword: str) -> int:
    size = dataset.get(keyword)
    if not isinstance(size, int) or size < 1:
        raise UnreadableImage(f"{keyword} is missing or 0; the header is damaged")
    return size


def _check_bits(dataset: Dataset) -> None:
    high, stored = dataset.get("HighBit"), dataset.get("BitsStored")
    if "PixelData" in dataset and isinstance(high, int) and isinstance(stored, int) and high != stored - 1:
        raise UnreadableImage(f"High Bit {high} with Bits Stored {stored} is a retired form; rewrite the pixels")


def _check_decoder(syntax: UID) -> None:
    try:
        available = bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        available = False
    if not available:
        raise UnreadableImage(
            f"nothing installed decodes {known_syntax(syntax)}; rewrite it as JPEG-LS or uncompressed, "
            "or install a decoder plugin of pydicom"
        )


def _check_codestreams(dataset: Dataset, count: int, size: tuple[int, int]) -> None:
    tables = [dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    offsets = tuple(tables) if all(tables) else None
    for codestream in generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets):
        if coded_size(codestream) != size:
            raise UnreadableImage(f"a codestream is no image of {size[0]} x {size[1]} as its header says; damaged")
