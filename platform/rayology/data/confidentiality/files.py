"""Open DICOM files whose faults must stay their own."""

import logging
import warnings
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

from rayology.errors import DataError, NotDicom, UnreadableImage

__all__ = ["Content", "content", "guarded", "quiet"]

MAX_BYTES = 2**31
"""The largest file that is opened, and the most that a deflated one may inflate to."""
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Content:
    """A file's data set, and its bytes as they are without deflation."""

    dataset: Dataset
    texts: bytes
    """Everything before the pixels."""
    pixels: bytes


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
        deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        inflated = _inflated(stored[length:]) if deflated else stored[length:]
        dataset = dcmread(BytesIO(stored))
        if not meta.get("TransferSyntaxUID"):
            raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete one")
        plain = stored[:length] + inflated
        begins = [dataset.get_item(keyword).value_tell for keyword in PIXELS if keyword in dataset]
        begin = min(begins) + length * deflated if begins else len(plain)
        return Content(dataset, plain[:begin], plain[begin:])


@contextmanager
def guarded(part: str) -> Iterator[None]:
    """Turn whatever pydicom and its codecs raise into our own error, without what they say of values."""
    try:
        with quiet():
            yield
    except DataError:
        raise
    except OSError as error:
        raise UnreadableImage(f"cannot be opened: {error.strerror}; check its permissions") from None
    except Exception as error:  # noqa: BLE001 - one bad file must not stop the rest
        raise UnreadableImage(f"its {part} cannot be read or written ({type(error).__name__}); damaged") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings to ourselves: they quote values."""
    logger = logging.getLogger("pydicom")
    propagated, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = propagated


def _file_meta(stored: bytes) -> tuple[Dataset, int]:
    """Return the file meta information, and where it ends."""
    stream = BytesIO(stored)
    stream.seek(132)
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag.group != 2
    )
    return meta, stream.tell()


def _inflated(deflated: bytes) -> bytes:
    """Inflate a data set (DICOM PS3.5 A.5) to at most ``MAX_BYTES``."""
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, MAX_BYTES + 1)
    if len(inflated) > MAX_BYTES:
        raise UnreadableImage(f"inflates to more than {MAX_BYTES} bytes; split the file")
    return inflated
