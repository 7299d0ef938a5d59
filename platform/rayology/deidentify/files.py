"""Open DICOM files so that a bad one does not affect the others."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from rayology.data.dicom.header import MAX_BYTES, inflated, read_file_meta
from rayology.data.unreadable import as_unreadable
from rayology.errors import NotDicom, UnreadableImage

__all__ = ["Content", "content"]

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Content:
    """A file's data set, and its bytes as they are without deflation."""

    dataset: Dataset
    plain: bytes
    pixels_at: int
    """Offset of the pixels; the length of ``plain`` if it has none."""


def content(file: Path | bytes) -> Content:
    """Read a file, given as a path or as its bytes; no message names it.

    Raises:
        NotDicom: the file has no DICOM preamble.
        UnreadableImage: it cannot be opened, is damaged or too large, or does not say what it is.
    """
    with as_unreadable("it cannot be read"):
        if isinstance(file, Path) and file.stat().st_size > MAX_BYTES:
            raise UnreadableImage(f"takes more than {MAX_BYTES} bytes; split the file")
        stored = file.read_bytes() if isinstance(file, Path) else file
        if stored[128:132] != b"DICM":
            raise NotDicom("has no DICOM preamble")
        stream = BytesIO(stored)
        stream.seek(132)
        meta, length = read_file_meta(stream), stream.tell()
        if not meta.get("TransferSyntaxUID"):
            raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete one")
        if meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
            return _content(dcmread(BytesIO(stored)), stored, 0)
        # pydicom would inflate it once more, and without a limit.
        body = inflated(stream)
        dataset = read_dataset(BytesIO(body), is_implicit_VR=False, is_little_endian=True)
        dataset.file_meta = FileMetaDataset(meta)
        return _content(dataset, stored[:length] + body, length)


def _content(dataset: Dataset, plain: bytes, begins_at: int) -> Content:
    pixels_at = [dataset.get_item(keyword).value_tell for keyword in PIXELS if keyword in dataset]
    return Content(dataset, plain, begins_at + min(pixels_at) if pixels_at else len(plain))
