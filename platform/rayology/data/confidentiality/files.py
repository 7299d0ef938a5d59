"""Open DICOM files whose faults must stay their own."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from rayology.data.quiet import quiet
from rayology.errors import DataError, NotDicom, UnreadableImage

__all__ = ["Content", "content", "guarded"]

MAX_BYTES = 2**30
"""The largest file that is opened."""
MAX_INFLATED = 2**28
"""The most that a deflated file may inflate to."""
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Content:
    """A file's data set, and its bytes as they are without deflation."""

    dataset: Dataset
    plain: bytes
    pixels_at: int
    """Where the pixels begin; the end where there are none."""


def content(file: Path | bytes) -> Content:
    """Read a file, or what is one already; no message names it.

    Raises:
        NotDicom: the file has no DICOM preamble.
        UnreadableImage: it cannot be opened, is damaged or too large, or does not say what it is.
    """
    with guarded("file"):
        if isinstance(file, Path) and file.stat().st_size > MAX_BYTES:
            raise UnreadableImage(f"takes more than {MAX_BYTES} bytes; split the file")
        stored = file.read_bytes() if isinstance(file, Path) else file
        if stored[128:132] != b"DICM":
            raise NotDicom("has no DICOM preamble")
        meta, length = _file_meta(stored)
        if not meta.get("TransferSyntaxUID"):
            raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete one")
        is_deflated = meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
        plain = stored[:length] + _inflated(stored[length:]) if is_deflated else stored
        dataset = dcmread(BytesIO(stored))
        begins = [dataset.get_item(keyword).value_tell for keyword in PIXELS if keyword in dataset]
        return Content(dataset, plain, min(begins) + length * is_deflated if begins else len(plain))


@contextmanager
def guarded(part: str) -> Iterator[None]:
    """Turn whatever pydicom and its codecs raise into our own error, without what they say of values."""
    try:
        with quiet():
            yield
    except DataError:
        raise
    except BaseException as error:
        # One bad file must not stop the rest, and a codec written in Rust panics with a BaseException of its own.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, OSError) and error.strerror:  # those of codecs have none
            raise UnreadableImage(f"cannot be opened: {error.strerror}; check its permissions") from None
        raise UnreadableImage(f"its {part} cannot be read or written ({type(error).__name__}); damaged") from None


def _file_meta(stored: bytes) -> tuple[Dataset, int]:
    """Return the file meta information, and where it ends."""
    stream = BytesIO(stored)
    stream.seek(132)
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2
    )
    return meta, stream.tell()


def _inflated(deflated: bytes) -> bytes:
    """Inflate a data set (DICOM PS3.5 A.5) to at most ``MAX_INFLATED`` bytes."""
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, MAX_INFLATED + 1)
    if len(inflated) > MAX_INFLATED:
        raise UnreadableImage(f"inflates to more than {MAX_INFLATED} bytes; split the file")
    return inflated
