"""One DICOM file into images in modality units, with no attribute beyond an allow-list."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from rayology.data.geometry import Geometry, geometry
from rayology.data.header import read_header
from rayology.data.identity import Identity
from rayology.data.layout import PIXEL_KEYWORDS, Layout, layout
from rayology.data.pixels import in_modality_units, known_syntax, padding, stored_frames, to_rgb
from rayology.data.values import has, text
from rayology.errors import DataError, NotAnImage, UnreadableImage

__all__ = ["Instance", "decode", "instances", "read", "stored"]

IDENTITIES = (
    *("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    "FrameOfReferenceUID",
)


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


def read(path: Path, *, require_preamble: bool = True) -> tuple[Instance, ...]:
    """Read every frame of a file at once; ``instances`` reads one after another."""
    return tuple(instances(path, require_preamble=require_preamble))


def instances(path: Path, *, require_preamble: bool = True) -> Iterator[Instance]:
    """Read the frames of a file one by one; no message names the file, whose name may name a patient.

    What the numbers mean: grey is in modality units, rescaled by the file's or the frame's own slope or Modality LUT,
    with MONOCHROME1 turned so that high is bright (but CT, whose units are physical); colour is RGB as stored, through
    the palette where there is one. Nothing is windowed, and overlays are left out.

    Args:
        path: The file.
        require_preamble: Whether a file without the preamble of DICOM PS3.10 7.1 is refused.

    Raises:
        NotDicom: the file is no DICOM.
        NotAnImage: it holds no pixels, or a video.
        UnsupportedSyntax: nothing installed decodes its transfer syntax.
        UnreadableImage: it is damaged, or larger than an image can be.
    """
    try:
        with path.open("rb") as stream:
            yield from decode(stream, require_preamble=require_preamble)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened: {error.strerror}; check the path and its permissions") from None


def decode(stream: BinaryIO, *, require_preamble: bool = True) -> Iterator[Instance]:
    """Read the frames of an opened file one by one, and raise what ``instances`` raises."""
    dataset, found = _opened(stream, require_preamble=require_preamble)
    with _guarded("header"):
        identity = Identity(*(text(dataset, keyword) for keyword in IDENTITIES))
    for frame, stored in _frames(dataset, found):
        with _guarded("values"):
            instance = _instance(dataset, found, stored, frame, identity)
        yield instance


def stored(path: Path, *, require_preamble: bool = True) -> NDArray[np.generic]:
    """Return the stored values of a file, (frames, rows, columns, samples), as conformance tests compare them.

    Bits and sign are corrected and YBR is RGB; palettes, rescale and MONOCHROME1 are left as they are.

    Raises:
        DataError: as ``instances``.
    """
    with path.open("rb") as stream:
        dataset, found = _opened(stream, require_preamble=require_preamble)
        in_palette = found.photometric == "PALETTE COLOR"
        return np.stack(
            [frame if in_palette else to_rgb(dataset, found, frame) for _, frame in _frames(dataset, found)]
        )


def _opened(stream: BinaryIO, *, require_preamble: bool) -> tuple[Dataset, Layout]:
    with _guarded("header"):
        dataset = read_header(stream, require_preamble=require_preamble)
        syntax = _checked_syntax(dataset)
    with _guarded(f"pixels ({known_syntax(syntax)})"):
        return dataset, layout(dataset)


def _frames(dataset: Dataset, found: Layout) -> Iterator[tuple[int, NDArray[np.generic]]]:
    frames = enumerate(stored_frames(dataset, found))
    while True:
        with _guarded(f"pixels ({known_syntax(found.syntax)})"):
            numbered = next(frames, None)
        if numbered is None:
            return
        yield numbered


def _instance(dataset: Dataset, found: Layout, stored: NDArray[np.generic], frame: int, identity: Identity) -> Instance:
    valid = np.ones(stored.shape[:2], np.bool_)
    if found.samples == 1 and found.photometric != "PALETTE COLOR":
        grey = stored[..., 0]
        pixels = in_modality_units(dataset, found, grey, frame)[None]
        padded = padding(dataset, found, grey)
        if padded is not None:
            valid &= ~padded
        if grey.dtype.kind == "f":
            valid &= np.isfinite(pixels[0])
        if not valid.all():
            pixels[:, ~valid] = pixels[:, valid].min(initial=np.inf) if valid.any() else 0.0
    else:
        pixels = np.moveaxis(to_rgb(dataset, found, stored), -1, 0).astype(np.float32)
    return Instance(
        pixels=pixels,
        valid=valid,
        geometry=geometry(dataset, frame),
        modality=_modality(dataset),
        syntax=known_syntax(found.syntax),
        identity=identity,
    )


def _checked_syntax(dataset: Dataset) -> UID:
    """Return the transfer syntax of a file that holds a still image."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not any(has(dataset, keyword) for keyword in PIXEL_KEYWORDS):
        raise NotAnImage(f"holds no pixels: {_object_name(dataset)}")
    if not syntax:
        raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete header")
    # DICOM PS3.5 A.4.5 to A.4.9 and A.4.12: MPEG-2, MPEG-4, HEVC, SMPTE ST 2110
    if syntax.startswith(("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")):
        raise NotAnImage(f"holds a video: {known_syntax(syntax)}")
    return UID(syntax)


def _object_name(dataset: Dataset) -> str:
    sop_class = UID(text(dataset, "SOPClassUID"))
    return str(sop_class.name) if sop_class and sop_class.name != str(sop_class) else "an unknown kind of object"


def _modality(dataset: Dataset) -> str:
    """Return the modality where it is a code string (DICOM PS3.5 6.2) and so cannot be free text."""
    modality = text(dataset, "Modality")
    return modality if re.fullmatch(r"[A-Z0-9]{2,16}", modality) else ""


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
