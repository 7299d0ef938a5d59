"""Open DICOM files so that a bad one does not affect the others."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from rayology.data.dicom.header import FIRST_GROUPS, MAX_BYTES, inflated, read_file_meta
from rayology.data.dicom.layout import PIXEL_KEYWORDS
from rayology.data.unreadable import as_unreadable
from rayology.errors import NotDicom, UnreadableImage

__all__ = ["Content", "content"]


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
        NotDicom: the file does not begin as DICOM does.
        UnreadableImage: it has no preamble, cannot be opened, is damaged or too large, or does not say what it is.
    """
    with as_unreadable("it cannot be read"):
        if isinstance(file, Path) and file.stat().st_size > MAX_BYTES:
            raise UnreadableImage(f"takes more than {MAX_BYTES} bytes; split the file")
        plain = file.read_bytes() if isinstance(file, Path) else file
        if plain[128:132] != b"DICM":
            if plain[:2] in FIRST_GROUPS:
                raise UnreadableImage("has no DICOM preamble; rewrite it with one (DICOM PS3.10 7.1)")
            raise NotDicom("is not DICOM")
        stream = BytesIO(plain)
        stream.seek(132)
        meta, begin = read_file_meta(stream), stream.tell()
        syntax = meta.get("TransferSyntaxUID")
        if not syntax:
            raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete one")
        if syntax == DeflatedExplicitVRLittleEndian:
            plain = plain[:begin] + inflated(stream)
            stream = BytesIO(plain)
            stream.seek(begin)
        dataset = read_dataset(stream, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
        dataset.file_meta = FileMetaDataset(meta)
        pixels_at = [dataset.get_item(keyword).value_tell for keyword in PIXEL_KEYWORDS if keyword in dataset]
        return Content(dataset, plain, min(pixels_at, default=len(plain)))
