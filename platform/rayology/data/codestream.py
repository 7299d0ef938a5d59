"""What a compressed frame says of its own size, so that no decoder is handed a bomb."""

import struct

__all__ = ["coded_size"]

JPEG_START = b"\xff\xd8"
JPEG_2000_START = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1 and A.5.1: SOC, then SIZ
# ISO/IEC 10918-1 table B.1 (SOF0 to SOF15 without DHT, JPG and DAC) and ISO/IEC 14495-1 C.1.1 (SOF55)
START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def coded_size(codestream: bytes) -> tuple[int, int]:
    """Return rows and columns of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream.

    Raises:
        ValueError: the codestream does not say.
    """
    if codestream.startswith(JPEG_START):
        return _jpeg_size(codestream)
    start = codestream.find(JPEG_2000_START, 0, 65536)  # a JP2 header may lead, an ICC profile in it
    if start < 0:
        raise ValueError("no codestream starts here")
    try:
        right, lower, left, upper = struct.unpack_from(">4I", codestream, start + 8)
    except struct.error:
        raise ValueError("the codestream ends in its header") from None
    return lower - upper, right - left


def _jpeg_size(codestream: bytes) -> tuple[int, int]:
    at = len(JPEG_START)
    while at + 9 <= len(codestream):
        marker, length = codestream[at + 1], int.from_bytes(codestream[at + 2 : at + 4], "big")
        if codestream[at] != 0xFF:
            break
        if marker in START_OF_FRAME:
            rows, columns = struct.unpack_from(">2H", codestream, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + length  # a marker may be led by fill bytes
    raise ValueError("no frame starts in the codestream")
