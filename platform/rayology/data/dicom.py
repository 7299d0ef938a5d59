"""One DICOM file into images in modality units, with no attribute beyond an allow-list."""

import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from rayology.data.geometry import Geometry, geometry
from rayology.data.identity import Identity
from rayology.data.pixels import PIXEL_KEYWORDS, frames, in_modality_units, known_syntax, padding
from rayology.errors import DataError, NotAnImage, NotDicom, UnreadableImage

__all__ = ["Instance", "decode", "read"]

MAX_BYTES = 2**30
"""The largest file that is opened, and the most that a deflated one may inflate to."""

IDENTITIES = (
    *("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    "FrameOfReferenceUID",
)
SHAPE = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation")
BITS = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
UNITS = ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept")
GEOMETRY = ("PixelSpacing", "ImagerPixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
PADDING = [f"{kind}PixelPadding{bound}" for kind in ("", "Float", "DoubleFloat") for bound in ("Value", "RangeLimit")]
PALETTES = [
    f"{form}{color}PaletteColorLookupTable{part}"
    for color in ("Red", "Green", "Blue")
    for form, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
]
KEPT = [
    *("SpecificCharacterSet", "SOPClassUID", "Modality", *IDENTITIES),
    *(*SHAPE, *BITS, *OFFSETS, *PADDING, *UNITS, *PALETTES, *GEOMETRY, *GROUPS, *PIXEL_KEYWORDS),
]
"""The only attributes that are read."""


@dataclass(frozen=True)
class Instance:
    """One frame of a file."""

    pixels: NDArray[np.float32]
    """(channels, rows, columns) in modality units; padding holds the lowest valid value of the frame."""
    valid: NDArray[np.bool_]
    """(rows, columns): where there is a finite value and no padding."""
    geometry: Geometry
    modality: str
    syntax: str
    """The name of the transfer syntax."""
    identity: Identity


def read(path: Path) -> tuple[Instance, ...]:
    """Read every frame of a file; no message names the file, whose name may name a patient.

    Raises:
        NotDicom: the file has no DICOM preamble.
        NotAnImage: it holds no pixels, or a video or a segmentation.
        UnreadableImage: it is damaged, too large, or in a transfer syntax without a decoder.
    """
    try:
        with path.open("rb") as stream:
            return decode(stream)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened: {error.strerror}; check the path and its permissions") from None


def decode(stream: BinaryIO) -> tuple[Instance, ...]:
    """Read every frame of an opened file, and raise what ``read`` raises."""
    stream.seek(128)  # DICOM PS3.10 7.1
    if stream.read(4) != b"DICM":
        raise NotDicom("has no DICOM preamble")
    with _guarded("header"):
        _check_inflated_size(stream)
        dataset = dcmread(stream, specific_tags=KEPT)
        syntax = _checked_syntax(dataset)
    with _guarded(f"pixels ({known_syntax(syntax)})"):
        stored = frames(dataset)
        identity = Identity(*(str(dataset.get(keyword) or "") for keyword in IDENTITIES))
        return tuple(_instance(dataset, stored[frame], frame, identity) for frame in range(len(stored)))


def _instance(dataset: Dataset, stored: NDArray[np.generic], frame: int, identity: Identity) -> Instance:
    valid = np.ones(stored.shape[:2], np.bool_)
    if stored.shape[2] == 1:
        grey = stored[..., 0]
        exact = grey.astype(np.float64) if grey.dtype.kind == "f" else grey.astype(np.int64)
        pixels = in_modality_units(dataset, exact, frame)[None]
        valid = np.isfinite(pixels[0]) & ~padding(dataset, exact)
        if not valid.all():
            pixels[:, ~valid] = pixels[:, valid].min(initial=np.inf) if valid.any() else 0.0
    else:
        pixels = np.moveaxis(stored, -1, 0).astype(np.float32)
    return Instance(
        pixels=pixels,
        valid=valid,
        geometry=geometry(dataset, frame),
        modality=_modality(dataset),
        syntax=known_syntax(UID(dataset.file_meta.TransferSyntaxUID)),
        identity=identity,
    )


def _checked_syntax(dataset: Dataset) -> UID:
    """Return the transfer syntax of a file that holds a still image."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not any(keyword in dataset for keyword in PIXEL_KEYWORDS):
        raise NotAnImage(f"holds no pixels: {_object_name(dataset)}")
    if not syntax:
        raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete header")
    # DICOM PS3.5 A.4.5 to A.4.9 and A.4.12: MPEG-2, MPEG-4, HEVC, SMPTE ST 2110
    if syntax.startswith(("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")):
        raise NotAnImage(f"holds a video: {known_syntax(syntax)}")
    if _modality(dataset) == "SEG":
        raise NotAnImage(f"holds a segmentation, no image: {_object_name(dataset)}")
    return UID(syntax)


def _object_name(dataset: Dataset) -> str:
    sop_class = UID(dataset.get("SOPClassUID") or "")
    return str(sop_class.name) if sop_class and sop_class.name != str(sop_class) else "an unknown kind of object"


def _modality(dataset: Dataset) -> str:
    """Return the modality where it is a code string (DICOM PS3.5 6.2) and so cannot be free text."""
    modality = str(dataset.get("Modality") or "")
    return modality if re.fullmatch(r"[A-Z0-9]{2,16}", modality) else ""


def _check_inflated_size(stream: BinaryIO) -> None:
    """Refuse a file that is larger than ``MAX_BYTES``, or that inflates to more (DICOM PS3.5 A.5)."""
    size = stream.seek(0, 2)
    stream.seek(132)
    meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_is_beyond_file_meta)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        size = len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(MAX_BYTES), MAX_BYTES + 1))
    if size > MAX_BYTES:
        raise UnreadableImage(f"takes more than {MAX_BYTES} bytes; split the file")
    stream.seek(0)


def _is_beyond_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return bool(tag.group != 2)


@contextmanager
def _guarded(part: str) -> Iterator[None]:
    """Turn whatever pydicom and its codecs raise into our own error, and keep what they say of values to ourselves."""
    logger = logging.getLogger("pydicom")
    propagated, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except BaseException as error:
        # A Rust codec panics with a BaseException of its own.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UnreadableImage(f"its {part} cannot be read ({type(error).__name__}); damaged, or no decoder") from None
    finally:
        logger.propagate = propagated
