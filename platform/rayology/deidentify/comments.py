"""Blank what cameras and programs write next to the pixels of a JPEG or JPEG 2000 codestream."""

import re
from collections.abc import Iterator

__all__ = ["without_comments"]

ITEM_HEADER = 8
"""Bytes of an item's tag and length (DICOM PS3.5 A.4)."""
START = (b"\xff\xd8", b"\xff\x4f")
"""JPEG and JPEG-LS (ITU-T T.81 table B.1), JPEG 2000 (T.800 table A.2)."""
PIXELS = (b"\xff\xda", b"\xff\x90")
"""From here on the segments hold pixels."""
APPLICATION = frozenset({*range(0xE0, 0xF0), 0xFE})
"""The second bytes of JPEG's application segments and of its comment."""
SAFE = (b"JFIF\0", b"Adobe", b"SPIFF\0", b"\0\0\0\1\xff\xd8")
"""First bytes of the application segments that say how to read pixels and hold no text; the last ends SPIFF's."""
COMMENT = b"\xff\x64"
"""The comment of JPEG 2000."""
END = b"\xff\xd9"
"""EOI of JPEG, EOC of JPEG 2000: within the pixels no two bytes look like it."""
JP2 = b"\0\0\0\x0cjP  "
BOXES = (b"jP  ", b"ftyp", b"rreq", b"jp2h", b"jp2c")
"""The boxes of a JP2 file that say how to read its pixels (ITU-T T.800 table I.2, T.801 table M.13)."""
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
    """Yield where a fragment that begins a codestream may hold text, within it and after its end."""
    if encapsulated.startswith(JP2, begin):
        yield from _boxes(encapsulated, begin, end)
        return
    if encapsulated[begin : begin + 2] not in START:
        return
    last = encapsulated.rfind(END, begin, end)
    if last >= 0 and encapsulated[last + len(END) : end].strip(b"\0\xff"):
        yield last + len(END), end
    at = begin + 2
    while at + 4 <= end:
        marker, first = encapsulated[at : at + 2], at + 4
        if marker in PIXELS or marker[0] != 0xFF:
            return
        at += 2 + int.from_bytes(encapsulated[at + 2 : at + 4], "big")
        if marker == COMMENT and not ENCODER.fullmatch(encapsulated[first:at]):
            yield first + 2, min(at, end)  # which says first whether it is a text
        if marker[1] in APPLICATION and not encapsulated.startswith(SAFE, first):
            yield first, min(at, end)


def _boxes(encapsulated: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where a JP2 file may hold text: in the boxes that pixels do not need, and in the codestream."""
    while at + 8 <= end:
        length, kind = int.from_bytes(encapsulated[at : at + 4], "big"), encapsulated[at + 4 : at + 8]
        last = end if length < 8 else min(at + length, end)  # 0 is the rest of the file, 1 a length of 64 bits
        if kind == b"jp2c":
            yield from _comments(encapsulated, at + 8, last)
        elif kind not in BOXES:
            yield at + 8, last
        at = last
