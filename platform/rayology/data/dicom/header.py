"""The header of a DICOM file, read by pydicom within limits."""

import zlib
from io import BytesIO
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from rayology.data.dicom.values import text
from rayology.errors import NotDicom, UnreadableImage

__all__ = ["FIRST_GROUPS", "MAX_BYTES", "inflated", "read_file_meta", "read_header"]

MAX_BYTES = 2**30
"""Bytes of the largest file that is opened, and most bytes that a deflated one may inflate to."""
MAX_INFLATION = 100
"""Most bytes that a byte may inflate to, beyond ``SMALL`` bytes in all."""
SMALL = 2**23
AT_ONCE = 2**20
"""Bytes of the largest file that is read at once; larger ones gain nothing by it."""
MAX_ELEMENTS = 2**13
"""Most elements outside sequences, more than any image has."""
CHUNK = 2**14
PREAMBLE = 128
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""Groups of file meta information, and of the first attributes that every object has."""


def read_header(stream: BinaryIO, *, require_preamble: bool = True) -> Dataset:
    """Return all elements of a file, whose values are parsed on demand.

    Raises:
        NotDicom: the file has no preamble although one is required, or does not start as DICOM does.
        UnreadableImage: it is larger than ``MAX_BYTES``, or inflates too far (DICOM PS3.5 A.5).
        Exception: pydicom finds damage.
    """
    num_bytes = stream.seek(0, 2)
    if num_bytes > MAX_BYTES:
        raise UnreadableImage(f"takes more than {MAX_BYTES} bytes; split the file")
    stream.seek(PREAMBLE)  # DICOM PS3.10 7.1
    if stream.read(4) != b"DICM":
        if require_preamble:
            raise NotDicom("has no DICOM preamble")
        stream.seek(0)
        if stream.read(2) not in FIRST_GROUPS:
            raise NotDicom("does not start as DICOM does")
        stream.seek(0)

    if num_bytes <= AT_ONCE:  # pydicom asks for the position before every element, and a file asks the system
        start = stream.tell()
        stream.seek(0)
        stream = BytesIO(stream.read(num_bytes))
        stream.seek(start)

    meta = read_file_meta(stream)
    syntax = text(meta, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BytesIO(inflated(stream))
    implicit = syntax == ImplicitVRLittleEndian if syntax else _is_implicit(stream)
    dataset = read_dataset(
        stream, is_implicit_VR=implicit, is_little_endian=syntax != ExplicitVRBigEndian, stop_when=_End()
    )
    dataset.file_meta = FileMetaDataset(meta)
    return dataset


def read_file_meta(stream: BinaryIO) -> Dataset:
    """Return file meta information, which is in Explicit VR Little Endian whatever follows it (DICOM PS3.10 7.1)."""
    return read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)


def inflated(stream: BinaryIO) -> bytes:
    """Inflate the rest of a file (DICOM PS3.5 A.5), and raise UnreadableImage if it inflates too far or ends early."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    whole = bytearray()
    num_read = 0
    while not inflater.eof and (left := stream.read(CHUNK)):
        num_read += len(left)
        while left and not inflater.eof:
            whole += inflater.decompress(left, MAX_INFLATION * CHUNK)
            left = inflater.unconsumed_tail
            if len(whole) > min(MAX_BYTES, max(SMALL, MAX_INFLATION * (num_read - len(left)))):
                raise UnreadableImage(
                    f"inflates to more than {MAX_BYTES} bytes or {MAX_INFLATION} times its size; damaged"
                )
    if not inflater.eof:
        raise UnreadableImage("its deflated content ends early; truncated")
    return bytes(whole)


class _End:
    """Stops reading at zeros, which may follow a file's last element, and at too many elements."""

    def __init__(self) -> None:
        self._num_elements = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        del vr, length
        self._num_elements += 1
        if self._num_elements > MAX_ELEMENTS:
            raise UnreadableImage(f"has more than {MAX_ELEMENTS} elements; damaged")
        return not tag  # and not tag == 0, which runs Python code of pydicom's


def _is_implicit(stream: BinaryIO) -> bool:
    """Return whether the next element has no value representation, which is two capital letters."""
    start = stream.tell()
    representation = stream.read(6)[4:]
    stream.seek(start)
    return not (representation.isalpha() and representation.isupper())
