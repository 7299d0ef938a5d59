"""Blank what cameras and programs write beside the pixels of a JPEG or JPEG 2000 codestream."""

import re
from collections.abc import Iterator

__all__ = ["without_comments"]

ITEM_HEADER = 8
"""Bytes of an item's tag and length (DICOM PS3.5 A.4)."""
START = (b"\xff\xd8", b"\xff\x4f")
"""JPEG and JPEG-LS (ITU-T T.81 table B.1), JPEG 2000 (T.800 table A.2)."""
PIXELS = (b"\xff\xda", b"\xff\x90")
"""From here on the segments hold pixels."""
COMMENTS = (b"\xff\xfe", b"\xff\xe1", b"\xff\xed", b"\xff\x64")
"""The comment of JPEG, Exif and XMP, IPTC, and the comment of JPEG 2000."""
ENCODER = re.compile(
    rb"[\0\1]{2}(Kakadu-v?[\d.]+|Created by (GDCM/)?OpenJPEG version [\d.]+|Creator: JasPer Version [\d.]+|"
    rb"OpenJPH Ver [\d.]+)\0?"
)
"""The comments in which encoders of JPEG 2000 name themselves, in nearly every file: they stay."""


def without_comments(encapsulated: bytes) -> bytes:
    """Return encapsulated pixels of the same length, their comments blanked; what is decoded stays the same."""
    blanked = bytearray(encapsulated)
    at = 0
    while at + ITEM_HEADER <= len(encapsulated):
        begin = at + ITEM_HEADER
        at = begin + int.from_bytes(encapsulated[at + 4 : begin], "little")
        for first, last in _comments(encapsulated, begin, min(at, len(encapsulated))):
            blanked[first:last] = b" " * (last - first)
    return bytes(blanked)


def _comments(encapsulated: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Give where the comments of one fragment stand, as far as it begins a codestream."""
    at = begin + 2
    while encapsulated[begin : begin + 2] in START and at + 4 <= end:
        marker, first = encapsulated[at : at + 2], at + 4
        if marker in PIXELS or marker[0] != 0xFF:
            return
        at += 2 + int.from_bytes(encapsulated[at + 2 : at + 4], "big")
        is_encoder = marker == COMMENTS[-1] and ENCODER.fullmatch(encapsulated[first:at])
        if marker in COMMENTS and not is_encoder:
            yield first + 2 * (marker == COMMENTS[-1]), min(at, end)  # which says first whether it is a text
