"""Decode a compressed frame into its stored values, by transfer syntax."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels import convert_color_space

from rayology.data.dicom.codestream import PROGRESSIVE, CodedFrame, has_all_tiles, inspect
from rayology.data.dicom.layout import Layout
from rayology.data.dicom.unraisable import unraisable_errors_raised
from rayology.errors import UnreadableImage

__all__ = ["decode_frame", "has_codec"]

MAX_VALUES_A_BYTE = 2**12
"""Most values that a byte may decode to; beyond ``SMALL`` values, a frame with more is a bomb."""
SMALL = 2**22

# Of JPEG, ISO/IEC 10918-1 table B.1: baseline, extended, lossless; of JPEG-LS, ISO/IEC 14495-1 C.1.1; of JPEG 2000, SIZ
BASELINE, EXTENDED, LOSSLESS, JPEG_LS, JPEG_2000 = 0xC0, 0xC1, 0xC3, 0xF7, 0x51
COSINE = frozenset({BASELINE, EXTENDED, PROGRESSIVE})
"""Lossy codings of JPEG."""

END = b"\xff\xd9"  # EOI of JPEG, EOC of JPEG 2000
TRAILER = 1024
"""Number of last bytes in which the end of a codestream is sought; padding and boxes may follow it."""


@dataclass(frozen=True)
class Codec:
    """How frames of a transfer syntax are decoded."""

    decode: Callable[[bytes, Layout], NDArray[np.generic]]
    codings: frozenset[int]
    """Accepted values of ``CodedFrame.coding``; empty if frames have no header to inspect."""
    in_grey: frozenset[int] = frozenset()
    """Other values accepted for one sample: writers confuse kinds of JPEG, and the frame says which it is."""
    is_lossy: bool = False
    """Whether decoded values may exceed the stored ones although the coding does not say so."""
    to_rgb: bool = False
    """Whether the codec itself turns YBR_FULL into RGB, as codecs of JPEG 2000 turn YBR_RCT and YBR_ICT."""


def has_codec(syntax: uid.UID) -> bool:
    """Return whether frames of a transfer syntax can be decoded here."""
    return syntax in CODECS


def decode_frame(codestream: bytes, layout: Layout) -> NDArray[np.generic]:
    """Return a frame's stored values, (rows, columns, samples), colour as RGB.

    What a codestream says of its colour is believed before Photometric Interpretation.

    Raises:
        UnreadableImage: the codestream contradicts the header, or is far too small for an image of its size.
        Exception: a codec finds damage.
    """
    codec = CODECS[layout.syntax]
    coded = _checked(codestream, layout, codec) if codec.codings else None
    if coded and coded.photometric and layout.samples > 1:
        layout = replace(layout, photometric=coded.photometric)
    decoded = codec.decode(codestream[coded.start if coded else 0 :], layout).reshape(layout.shape)
    if coded and (codec.is_lossy or coded.coding in COSINE):
        decoded = layout.corrected(_with_sign(decoded, layout, coded.precision), overshoots=True)
    else:
        decoded = layout.corrected(decoded)
    if layout.photometric.startswith("YBR_FULL") and not codec.to_rgb:
        return np.asarray(convert_color_space(decoded, "YBR_FULL", "RGB"))
    return decoded


def _with_sign(decoded: NDArray[np.generic], layout: Layout, precision: int) -> NDArray[np.generic]:
    """Reinterpret unsigned decoded values as the signed values that they stand for, before any is clipped."""
    if not layout.signed or decoded.dtype.kind != "u":
        return decoded
    values = decoded.astype(layout.dtype)
    unused = layout.dtype.type(8 * layout.dtype.itemsize - precision)
    return np.asarray((values << unused) >> unused)


def _checked(codestream: bytes, layout: Layout, codec: Codec) -> CodedFrame:
    """Return what a codestream says about itself, and raise UnreadableImage if the file's header contradicts it."""
    if layout.values_a_frame > max(SMALL, MAX_VALUES_A_BYTE * len(codestream)):
        raise UnreadableImage("a frame has fewer bytes than an image of its size can be compressed to; damaged")
    # The decoders of JPEG would fill up what is missing. Any number of zeros may follow.
    if END not in codestream[-TRAILER:] and END not in codestream.rstrip(b"\0")[-TRAILER:]:
        raise UnreadableImage("a codestream ends before its image does; truncated")
    coded = inspect(codestream)
    if coded.coding not in (codec.codings | codec.in_grey if layout.samples == 1 else codec.codings):
        raise UnreadableImage("a codestream is not coded as its transfer syntax says; damaged")
    if (coded.rows, coded.columns, coded.samples) != layout.shape or coded.precision > layout.bits_allocated:
        raise UnreadableImage(
            f"a codestream is not an image of {layout.rows} x {layout.columns} x {layout.samples} in "
            f"{layout.bits_allocated} bits as its header says; damaged"
        )
    return coded


def _jpeg(codestream: bytes, layout: Layout) -> NDArray[np.generic]:
    """Decode to grey or RGB, but lossless colour as it is: libjpeg does not transform that."""
    if layout.samples == 1:
        return np.asarray(imagecodecs.jpeg8_decode(codestream))
    is_rgb = layout.photometric == "RGB" or not CODECS[layout.syntax].to_rgb
    coded = "rgb" if is_rgb else "ycbcr"
    return np.asarray(imagecodecs.jpeg8_decode(codestream, colorspace=coded, outcolorspace="rgb"))


def _jpeg_ls(codestream: bytes, layout: Layout) -> NDArray[np.generic]:
    del layout
    return np.asarray(imagecodecs.jpegls_decode(codestream))


def _jpeg_2000(codestream: bytes, layout: Layout) -> NDArray[np.generic]:
    del layout
    return np.asarray(imagecodecs.jpeg2k_decode(codestream, numthreads=1))


def _htj2k(codestream: bytes, layout: Layout) -> NDArray[np.generic]:
    if not has_all_tiles(codestream):  # the decoder would leave the rest of the image unwritten
        raise UnreadableImage("a codestream ends before its image does; truncated")
    planar = None if layout.samples == 1 else False  # for one sample it means nothing, yet costs as much as decoding
    with unraisable_errors_raised():
        return np.asarray(imagecodecs.htj2k_decode(codestream, planar=planar))


def _rle(codestream: bytes, layout: Layout) -> NDArray[np.generic]:
    """Decode one byte plane from each segment, the first sample's most significant byte first (DICOM PS3.5 G)."""
    num_bytes = layout.dtype.itemsize
    segments = _segments(codestream)
    if len(segments) != layout.samples * num_bytes:
        raise UnreadableImage(f"a frame has {len(segments)} RLE segments, not {layout.samples * num_bytes}; damaged")
    values = layout.rows * layout.columns
    if values > 64 * max(map(len, segments)):  # a run of two bytes stands for at most 128 (DICOM PS3.5 G.3.1)
        raise UnreadableImage("a frame has fewer bytes than an image of its size can be compressed to; damaged")

    planes = [_unpacked(segment, values) for segment in segments]
    joined = np.empty((values, layout.samples), layout.dtype.str.replace("i", "u"))
    for sample in range(layout.samples):
        first, *others = planes[sample * num_bytes : (sample + 1) * num_bytes]
        joined[:, sample] = first
        for plane in others:
            joined[:, sample] <<= 8
            joined[:, sample] |= plane
    return joined


def _segments(codestream: bytes) -> list[bytes]:
    """Split a frame at the offsets in its header (DICOM PS3.5 G.5)."""
    count, *offsets = struct.unpack_from("<16L", codestream)
    bounds = [*offsets[:count], len(codestream)]
    if not 1 <= count <= 15 or bounds[0] != 64 or bounds != sorted(bounds):
        raise UnreadableImage("a frame's RLE header is damaged")
    return [codestream[start:end] for start, end in pairwise(bounds)]


def _unpacked(segment: bytes, values: int) -> NDArray[np.uint8]:
    """Unpack a segment, which may end in a byte of padding (DICOM PS3.5 G.2)."""
    plane = bytearray(values)
    try:
        filled = imagecodecs.packbits_decode(segment, out=plane)
    except imagecodecs.PackbitsError:
        filled = imagecodecs.packbits_decode(segment[:-1], out=plane)
    if len(filled) != values:
        raise UnreadableImage(f"an RLE segment holds {len(filled)} of {values} values; damaged")
    return np.frombuffer(plane, np.uint8)


CODECS = {
    uid.JPEGBaseline8Bit: Codec(_jpeg, COSINE, in_grey=frozenset({LOSSLESS}), to_rgb=True),
    uid.JPEGExtended12Bit: Codec(_jpeg, COSINE, in_grey=frozenset({LOSSLESS}), to_rgb=True),
    uid.JPEGLossless: Codec(_jpeg, frozenset({LOSSLESS}), in_grey=COSINE),
    uid.JPEGLosslessSV1: Codec(_jpeg, frozenset({LOSSLESS}), in_grey=COSINE),
    uid.JPEGLSLossless: Codec(_jpeg_ls, frozenset({JPEG_LS})),
    uid.JPEGLSNearLossless: Codec(_jpeg_ls, frozenset({JPEG_LS}), is_lossy=True),
    uid.JPEG2000Lossless: Codec(_jpeg_2000, frozenset({JPEG_2000})),
    uid.JPEG2000: Codec(_jpeg_2000, frozenset({JPEG_2000}), is_lossy=True),
    uid.HTJ2KLossless: Codec(_htj2k, frozenset({JPEG_2000})),
    uid.HTJ2KLosslessRPCL: Codec(_htj2k, frozenset({JPEG_2000})),
    uid.HTJ2K: Codec(_jpeg_2000, frozenset({JPEG_2000}), is_lossy=True),  # OpenJPH wraps what overshoots
    uid.RLELossless: Codec(_rle, frozenset()),
}
