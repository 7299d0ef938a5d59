"""Read a DICOM file into images in modality units, with no attribute beyond an allow-list."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from rayology.data.dicom.facts import NOTHING_KNOWN, Facts, facts
from rayology.data.dicom.geometry import Geometry, geometry
from rayology.data.dicom.header import read_header
from rayology.data.dicom.image_kind import SECONDARY_CAPTURE, image_type
from rayology.data.dicom.layout import PIXEL_KEYWORDS, Layout, layout
from rayology.data.dicom.pet import PET, suv_scale, units
from rayology.data.dicom.pixels import in_modality_units, known_syntax, padding, stored_frames, to_rgb
from rayology.data.dicom.selection import EVERYTHING, Selection, selected
from rayology.data.dicom.values import has, modality, text
from rayology.data.identity import Identity
from rayology.data.unreadable import as_unreadable
from rayology.errors import NotAnImage, NotSelected, UnreadableImage, UnsupportedSyntax

__all__ = ["Instance", "decode", "instances", "read"]

T = TypeVar("T")
PER_FRAME = "PerFrameFunctionalGroupsSequence"

IDENTITIES = (
    *("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
    "FrameOfReferenceUID",
)


@dataclass(frozen=True)
class Instance:
    """One frame of a file."""

    pixels: NDArray[np.float32]
    """Values in modality units, the frame's lowest valid one for padding; (channels, rows, columns)."""
    valid: NDArray[np.bool_]
    """Pixels with a finite value that is not padding; (rows, columns)."""
    geometry: Geometry
    modality: str
    syntax: str
    """Name of the transfer syntax."""
    identity: Identity
    facts: Facts = NOTHING_KNOWN
    number: int = 0
    """Number of the frame in its file, from 0."""
    is_capture: bool = False
    """Whether it is a secondary capture, a page if its study has images of the modality's own class."""
    left_out: str = ""
    """Why other frames of its file are not wanted; empty if all are."""
    units: str = ""
    """Code of PET's units, such as BQML (DICOM PS3.3 C.8.9.1); empty if the file does not say, or for others."""
    suv_scale: float | None = None
    """Factor from Bq/ml to SUV by body weight, if the header gives it."""


def read(path: Path, *, require_preamble: bool = True, selection: Selection = EVERYTHING) -> tuple[Instance, ...]:
    """Read the frames of a file at once, by default all; ``instances`` reads one after another."""
    return tuple(instances(path, require_preamble=require_preamble, selection=selection))


def instances(path: Path, *, require_preamble: bool = True, selection: Selection = EVERYTHING) -> Iterator[Instance]:
    """Read the frames of a file one by one, by default all; no message names the file, whose name may name a patient.

    Grey values are in modality units, rescaled by the file's or the frame's own slope or Modality LUT, and MONOCHROME1
    is turned so that high is bright, except for CT, whose units are physical. Colour is RGB as stored, through the
    palette if there is one. Nothing is windowed, overlays are left out, and frames not selected are not decoded.

    Raises:
        NotDicom: the file is not DICOM, or lacks the preamble of DICOM PS3.10 7.1 if that is required.
        NotAnImage: it holds no pixels.
        NotSelected: none of its frames is wanted.
        UnsupportedSyntax: nothing installed decodes its transfer syntax, or it is a video's.
        UnreadableImage: it is damaged, or larger than an image can be.
    """
    with as_unreadable("it cannot be read"):
        stream = path.open("rb")  # and read outside, because the guard must not be open while frames are yielded
    with stream:
        yield from decode(stream, require_preamble=require_preamble, selection=selection)


def decode(stream: BinaryIO, *, require_preamble: bool = True, selection: Selection = EVERYTHING) -> Iterator[Instance]:
    """Read the frames of an opened file one by one, and raise what ``instances`` raises."""
    with as_unreadable("its header cannot be read"):
        dataset = read_header(stream, require_preamble=require_preamble)
        _check_is_still_image(dataset)
        found = layout(dataset)
    yield from _guarded_each(_instances(dataset, found, selection), f"pixels ({known_syntax(found.syntax)})")


def _instances(dataset: Dataset, found: Layout, selection: Selection) -> Iterator[Instance]:
    identity = Identity(*(text(dataset, keyword) for keyword in IDENTITIES))
    # Frames without functional groups of their own are all described alike.
    num_described = 1 + len((has(dataset, PER_FRAME) and dataset[PER_FRAME].value) or ())
    described = [_described(dataset, frame, selection) for frame in range(min(num_described, found.frames))]
    left_out = min((reason for _, _, reason in described if reason), default="")
    code, is_capture = modality(dataset), bool(re.fullmatch(SECONDARY_CAPTURE, text(dataset, "SOPClassUID")))
    if all(reason for _, _, reason in described):
        raise NotSelected(left_out, study="" if is_capture else identity.study, modality=code)
    unit, scale = (units(dataset), suv_scale(dataset)) if code == PET else ("", None)
    of_file = partial(
        Instance,
        modality=code,
        syntax=known_syntax(found.syntax),
        identity=identity,
        is_capture=is_capture and "pages" not in selection.include,
        left_out=left_out,
        units=unit,
        suv_scale=scale,
    )
    for frame, decode_frame in enumerate(stored_frames(dataset, found)):
        place, frame_facts, reason = described[min(frame, num_described - 1)]
        if reason:
            continue
        pixels, valid = _in_units(dataset, found, decode_frame(), frame)
        yield of_file(pixels, valid, place, facts=frame_facts, number=frame)


def _described(dataset: Dataset, frame: int, selection: Selection) -> tuple[Geometry, Facts, str]:
    """Return the place of a frame, what its header says, and why it is not wanted, if so."""
    place, frame_type = geometry(dataset, frame), image_type(dataset, frame)
    found = facts(dataset, frame, frame_type)
    return place, found, selected(dataset, selection, found, place, frame_type)


def _in_units(
    dataset: Dataset, found: Layout, stored: NDArray[np.generic], frame: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a frame's pixels, (channels, rows, columns), and where they are valid."""
    valid = np.ones(stored.shape[:2], np.bool_)
    if found.samples > 1 or found.photometric == "PALETTE COLOR":
        return np.moveaxis(to_rgb(dataset, found, stored), -1, 0).astype(np.float32), valid
    grey = stored[..., 0]
    pixels = in_modality_units(dataset, found, grey, frame)[None]
    padded = padding(dataset, found, grey)
    if padded is not None:
        valid &= ~padded
    if grey.dtype.kind == "f":
        valid &= np.isfinite(pixels[0])
    if not valid.all():  # filled twice, because indexing with a mask takes ten times as long
        hidden = ~valid
        np.copyto(pixels, np.inf, where=hidden)
        np.copyto(pixels, pixels.min() if valid.any() else 0.0, where=hidden)
    return pixels, valid


def _check_is_still_image(dataset: Dataset) -> None:
    syntax = text(dataset.file_meta, "TransferSyntaxUID")
    if not any(has(dataset, keyword) for keyword in PIXEL_KEYWORDS):
        raise NotAnImage(f"holds no pixels: {_object_name(dataset)}")
    if not syntax:
        raise UnreadableImage("its header names no transfer syntax; rewrite it with a complete header")
    # DICOM PS3.5 A.4.5 to A.4.9 and A.4.12: MPEG-2, MPEG-4, HEVC, SMPTE ST 2110
    if syntax.startswith(("1.2.840.10008.1.2.4.10", "1.2.840.10008.1.2.7.")):
        raise UnsupportedSyntax(f"holds a video ({known_syntax(UID(syntax))}); write its frames as an image")


def _object_name(dataset: Dataset) -> str:
    sop_class = UID(text(dataset, "SOPClassUID"))
    return str(sop_class.name) if sop_class and sop_class.name != str(sop_class) else "an unknown kind of object"


def _guarded_each(values: Iterator[T], part: str) -> Iterator[T]:
    while True:
        with as_unreadable(f"its {part} cannot be read"):
            value = next(values, None)
        if value is None:
            return
        yield value
