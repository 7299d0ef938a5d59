"""How a file lays out its pixels: shape, bits, sign and colour, from its header and checked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.uid import UID, RLELossless

from rayology.data.dicom.values import has, integer, text, whole
from rayology.errors import UnreadableImage

__all__ = ["PIXEL_KEYWORDS", "Layout", "layout"]

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MAX_VALUES = 2**27
"""Most values of a frame: rows x columns x samples."""

FLOAT_TYPES: Mapping[str, np.dtype[np.generic]] = {
    "FloatPixelData": np.dtype("<f4"),
    "DoubleFloatPixelData": np.dtype("<f8"),
}
SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"), 3),
}
"""Number of samples per pixel (DICOM PS3.3 C.7.6.3.1.2); retired interpretations are not read."""


@dataclass(frozen=True)
class Layout:
    """The image pixel module of a file (DICOM PS3.3 C.7.6.3)."""

    syntax: UID
    keyword: str
    """Element that holds the pixels, one of ``PIXEL_KEYWORDS``."""
    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    by_plane: bool
    """Whether the samples of an uncompressed frame lie one plane after another."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and samples of a frame."""
        return (self.rows, self.columns, self.samples)

    @property
    def is_native(self) -> bool:
        """Whether the pixels are stored as they are, not as codestreams (DICOM PS3.5 8.2, A.4)."""
        return bool(self.syntax.is_transfer_syntax and not self.syntax.is_encapsulated)

    @property
    def values_a_frame(self) -> int:
        """Number of values of a frame."""
        return self.rows * self.columns * self.samples

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a stored value; a single bit takes a byte."""
        if self.keyword in FLOAT_TYPES:
            return FLOAT_TYPES[self.keyword]
        return np.dtype(f"<{'i' if self.signed else 'u'}{max(8, self.bits_allocated) // 8}")

    @property
    def lowest_and_highest(self) -> tuple[int, int]:
        """Lowest and highest value that bits and sign allow."""
        levels = 1 << self.bits_stored
        low = -levels // 2 if self.signed else 0
        return low, low + levels - 1

    def corrected(self, decoded: NDArray[np.generic], *, overshoots: bool = False) -> NDArray[np.generic]:
        """Return values in their stored type, with corrected bits above Bits Stored.

        Those bits repeat the sign, or are 0 (DICOM PS3.5 8.1.1). If a codec overshoots, values are clipped, because
        without their high bits the brightest would turn black.
        """
        is_alike = decoded.dtype.isnative and decoded.dtype.kind in "iu" and decoded.itemsize == self.dtype.itemsize
        values = decoded.view(self.dtype) if is_alike else decoded.astype(self.dtype)
        unused = 8 * self.dtype.itemsize - self.bits_stored
        if unused == 0 or self.dtype.kind == "f":
            return values
        if overshoots:
            lowest, highest = self.lowest_and_highest
            return np.asarray(np.clip(values, lowest, highest), self.dtype)
        return (values << self.dtype.type(unused)) >> self.dtype.type(unused)


def layout(dataset: Dataset) -> Layout:
    """Return the layout of a file's pixels.

    Raises:
        UnreadableImage: a size is missing or too large, or bits, samples and colour contradict each other.
    """
    keyword = next(keyword for keyword in PIXEL_KEYWORDS if has(dataset, keyword))
    found = Layout(
        syntax=UID(text(dataset.file_meta, "TransferSyntaxUID"), validation_mode=config.IGNORE),
        keyword=keyword,
        frames=whole(dataset, "NumberOfFrames") or 1,
        rows=_size(dataset, "Rows"),
        columns=_size(dataset, "Columns"),
        samples=_size(dataset, "SamplesPerPixel"),
        photometric=text(dataset, "PhotometricInterpretation"),
        bits_allocated=_size(dataset, "BitsAllocated"),
        bits_stored=_size(dataset, "BitsStored") if keyword == "PixelData" else 0,
        signed=keyword == "PixelData" and _given(dataset, "PixelRepresentation") == 1,
        by_plane=_size(dataset, "SamplesPerPixel") > 1 and _given(dataset, "PlanarConfiguration") == 1,
    )
    _check_sizes(found)
    if keyword == "PixelData":
        # Codecs know where the bits of a codestream are; RLE packs bytes as they are.
        in_place = found.is_native or found.syntax == RLELossless
        _check_bits(found, integer(dataset, "HighBit") if in_place else None)
    return found


def _given(dataset: Dataset, keyword: str) -> int:
    value = integer(dataset, keyword)
    if value is None:
        raise UnreadableImage(f"{keyword} is missing; the header is damaged")
    return value


def _size(dataset: Dataset, keyword: str) -> int:
    size = integer(dataset, keyword)
    if size is None or size < 1:
        raise UnreadableImage(f"{keyword} is missing or 0; the header is damaged")
    return size


def _check_sizes(found: Layout) -> None:
    if found.frames < 1:
        raise UnreadableImage("NumberOfFrames is below 1; the header is damaged")
    if found.values_a_frame > MAX_VALUES:
        raise UnreadableImage(
            f"a frame of {found.rows} x {found.columns} x {found.samples} exceeds {MAX_VALUES} values; damaged"
        )
    samples = SAMPLES.get(found.photometric)
    if samples is None:
        raise UnreadableImage("its photometric interpretation is missing, retired or unknown; rewrite it as RGB")
    if samples != found.samples:
        raise UnreadableImage(f"{found.photometric} has {samples} samples a pixel, not {found.samples}; damaged")


def _check_bits(found: Layout, high: int | None) -> None:
    if found.bits_allocated not in {1, 8, 16, 32} or found.bits_stored > found.bits_allocated:
        raise UnreadableImage(
            f"Bits Allocated {found.bits_allocated} with Bits Stored {found.bits_stored} is not a form of pixels; "
            "rewrite them in 8, 16 or 32 bits"
        )
    if high is not None and high != found.bits_stored - 1:
        raise UnreadableImage(
            f"High Bit {high} with Bits Stored {found.bits_stored} is a retired form; rewrite the pixels"
        )
