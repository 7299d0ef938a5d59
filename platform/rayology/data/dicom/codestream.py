"""Inspect a compressed frame, so that no codec gets a bomb or a frame of another shape."""

import re
import struct
from dataclasses import dataclass

__all__ = ["PROGRESSIVE", "CodedFrame", "has_all_tiles", "inspect"]

JPEG_START = b"\xff\xd8"
JPEG_2000_START = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1 and A.5.1: SOC, then SIZ
JPEG_2000_HEADER = 2**16  # a JP2 header may lead, an ICC profile in it
# ISO/IEC 10918-1 table B.1 (SOF0 to SOF15 without DHT, JPG and DAC) and ISO/IEC 14495-1 C.1.1 (SOF55)
START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
PROGRESSIVE = 0xC2
START_OF_SCAN, RESTARTS = 0xDA, range(0xD0, 0xD8)
MAX_SCANS = 2**6
"""Most scans of a frame, each of which may cover the whole image; encoders write about ten."""
APP0, APP14 = 0xE0, 0xEE  # of JFIF (ITU-T T.871, clause 10.1) and of Adobe (ITU-T T.872, clause 6.5.3)
SIZE, CODING_STYLE = 0x51, 0xFF52  # ISO/IEC 15444-1 A.5.1 and A.6.1
START_OF_TILE, END_OF_CODESTREAM = b"\xff\x90", b"\xff\xd9"  # ISO/IEC 15444-1 A.4.2 and A.4.4
SYCC = re.compile(rb"colr\x01..\x00\x00\x00\x12", re.DOTALL)  # ISO/IEC 15444-1 I.5.3.3
MAX_TILES = 2**12
MAX_LAYERS = 2**8


@dataclass(frozen=True)
class CodedFrame:
    """The shape of a compressed frame."""

    rows: int
    columns: int
    samples: int
    precision: int
    """Bits per sample."""
    coding: int
    """Second byte of the marker that gives the coding: SOF0 to SOF55 of JPEG, SIZ of JPEG 2000."""
    photometric: str = ""
    """RGB or YBR_FULL, if it says which of them its samples decode to; else empty."""
    start: int = 0
    """Offset of its start, behind the boxes of a JP2 file."""


def inspect(codestream: bytes) -> CodedFrame:
    """Return the shape of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream from its own header.

    Raises:
        ValueError: the header is damaged, or has more tiles, layers or scans than are decoded, or subsampling.
    """
    if codestream.startswith(JPEG_START):
        return _jpeg(codestream)
    start = codestream.find(JPEG_2000_START, 0, JPEG_2000_HEADER)
    if start < 0:
        raise ValueError("no codestream starts here")
    try:
        return _jpeg_2000(codestream, start + len(JPEG_2000_START))
    except (struct.error, IndexError):
        raise ValueError("the codestream ends in its header") from None


def has_all_tiles(codestream: bytes) -> bool:
    """Return whether a JPEG 2000 codestream is as long as its tile-parts say, if they do (ISO/IEC 15444-1 A.4.2)."""
    at = 2  # behind SOC
    while at <= len(codestream) - 4 and not codestream.startswith(START_OF_TILE, at):  # the main header
        at += 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
    while at <= len(codestream) - 12 and codestream.startswith(START_OF_TILE, at):
        length = int.from_bytes(codestream[at + 6 : at + 10], "big")
        if length == 0:  # up to the end
            return True
        at += max(length, 12)
    return codestream.startswith(END_OF_CODESTREAM, at)


def _jpeg(codestream: bytes) -> CodedFrame:
    """Read the frame header (ISO/IEC 10918-1 B.2.2) and the application segments before it."""
    at = len(JPEG_START)
    is_jfif, transform = False, b""
    while at + 10 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker in START_OF_FRAME:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", codestream, at + 4)
            has_scans = marker == PROGRESSIVE or samples > 1  # any other frame of one sample has a single scan
            if has_scans and (scans := codestream.count(b"\xff\xda")) > MAX_SCANS:
                raise ValueError(f"{scans} scans are more than the {MAX_SCANS} that are decoded")
            components = codestream[at + 10 : at + 10 + 3 * samples]  # of each its name, sampling and table
            names, sampling = components[::3], components[1::3]
            photometric = _photometric(names, sampling, transform, is_jfif=is_jfif)
            return CodedFrame(rows, columns, samples, precision, marker, photometric)
        if marker == START_OF_SCAN or marker in RESTARTS:
            break
        if marker == 0xFF:  # fill bytes may lead
            at += 1
            continue
        end = at + 2 + int.from_bytes(codestream[at + 2 : at + 4], "big")
        is_jfif |= marker == APP0 and codestream.startswith(b"JFIF\0", at + 4)
        if marker == APP14 and codestream.startswith(b"Adobe", at + 4):
            transform = codestream[at + 15 : min(at + 16, end)]
        at = end
    raise ValueError("no frame starts in the codestream")


def _photometric(names: bytes, sampling: bytes, transform: bytes, *, is_jfif: bool) -> str:
    """Return what three components are by JFIF (ITU-T T.871, clause 7), their sampling, Adobe's transform or names.

    Only chroma is sampled more coarsely than another component, whatever else a codestream says.
    """
    if len(names) != 3:
        return ""
    if is_jfif or len(set(sampling)) > 1:
        return "YBR_FULL"
    if transform:
        return "RGB" if transform == b"\0" else "YBR_FULL"
    return "RGB" if names.upper() == b"RGB" else ""


def _jpeg_2000(codestream: bytes, at: int) -> CodedFrame:
    """Read SIZ and the coding style after it (ISO/IEC 15444-1 A.5.1 and A.6.1)."""
    right, lower, left, upper, tile_width, tile_height, tile_left, tile_upper, samples = struct.unpack_from(
        ">8IH", codestream, at + 4
    )
    components = codestream[at + 38 : at + 38 + 3 * samples]
    depth = components[0]
    uniform = components == bytes((depth, 1, 1)) * samples
    if not (uniform and left < right and upper < lower and tile_width and tile_height):
        raise ValueError("components of the codestream differ in depth or are subsampled")
    tiles = -(-(right - tile_left) // tile_width) * -(-(lower - tile_upper) // tile_height)
    if tiles > MAX_TILES:
        raise ValueError(f"{tiles} tiles are more than the {MAX_TILES} that are decoded")
    is_rgb = _transforms_components(codestream, at + struct.unpack_from(">H", codestream, at)[0])
    start = at - len(JPEG_2000_START)
    photometric = "YBR_FULL" if SYCC.search(codestream, 0, start) else "RGB" if is_rgb else ""
    return CodedFrame(lower - upper, right - left, samples, (depth & 0x7F) + 1, SIZE, photometric, start)


def _transforms_components(codestream: bytes, at: int) -> bool:
    """Return whether components are transformed to YCbCr; raise ValueError if layers, which cost memory, are many."""
    while True:
        marker, length = struct.unpack_from(">HH", codestream, at)
        if marker == CODING_STYLE:
            layers = struct.unpack_from(">H", codestream, at + 6)[0]
            if not 0 < layers <= MAX_LAYERS:
                raise ValueError(f"{layers} layers are more than the {MAX_LAYERS} that are decoded")
            return codestream[at + 8] != 0
        if marker >> 8 != 0xFF or length < 2:
            raise ValueError("the codestream's header is damaged")
        at += 2 + length
