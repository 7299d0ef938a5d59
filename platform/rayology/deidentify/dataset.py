"""Turn an identified data set into one that names nobody: DICOM PS3.15 annex E."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import get_expected_length
from pydicom.sequence import Sequence

from rayology.data.dicom.values import text
from rayology.data.identity import Identity, pseudonyms
from rayology.data.suppression import suppress_output
from rayology.deidentify.codes import published_meaning
from rayology.deidentify.comments import without_comments
from rayology.deidentify.deidentifier import Deidentifier
from rayology.deidentify.profile import Profile
from rayology.errors import UnreadableImage

__all__ = ["Deidentified", "deidentify", "encoded"]

MASKED = "113101"
"""Clean Pixel Data Option, DICOM PS3.16 CID 7050."""


@dataclass(frozen=True)
class Deidentified:
    """A copy that identifies nobody, and what was done to the attributes of the original."""

    dataset: Dataset
    patient: str
    """The patient's pseudonym, the same for all files under one key."""
    done: Mapping[str, Mapping[str, int]]
    """Number of times that each action was done, by action and keyword."""


@suppress_output()
def deidentify(dataset: Dataset, profile: Profile, key: bytes, *, masked: bool = False) -> Deidentified:
    """Return a copy of a data set, with its file meta, that keeps nothing but what the profile lets pass.

    Pixels stay as they are, except for comments within their codestream; ``masked`` states that identity was blackened
    out of them before.

    Raises:
        UnreadableImage: the data set does not say which instance it is, or its pixels end early.
    """
    if not dataset.get("SOPInstanceUID"):
        raise UnreadableImage("names no SOP instance; rewrite it with a complete header")
    identity = Identity(*(text(dataset, keyword) for keyword in ("PatientID", "IssuerOfPatientID", "StudyInstanceUID")))
    patient = pseudonyms(identity, key, seed=0).patient
    deidentifier = Deidentifier(profile, key, patient)
    copied = deidentifier.copy(dataset)
    _clean_pixels(copied)
    _declare(copied, profile, masked=masked)
    copied.file_meta = _file_meta(dataset, copied)
    is_implicit, is_little_endian = dataset.original_encoding
    copied.set_original_encoding(is_implicit, is_little_endian, dataset.original_character_set)
    return Deidentified(copied, patient, deidentifier.done)


@suppress_output()
def encoded(dataset: Dataset) -> bytes:
    """Return a data set as a file; its preamble is zeros (DICOM PS3.10 7.1)."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _file_meta(dataset: Dataset, copied: Dataset) -> FileMetaDataset:
    """Return only what a file must say; who wrote, sent or received it goes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = copied.get("SOPClassUID") or dataset.file_meta.MediaStorageSOPClassUID
    meta.MediaStorageSOPInstanceUID = copied.SOPInstanceUID
    return meta


def _declare(copied: Dataset, profile: Profile, *, masked: bool) -> None:
    """State that identity was removed, how, and what became of dates (DICOM PS3.3 C.12.1 and C.7.1.1)."""
    methods = []
    for value in (*profile.codes(), *((MASKED,) if masked else ())):
        method = Dataset()
        method.CodeValue, method.CodingSchemeDesignator = value, "DCM"
        method.CodeMeaning = published_meaning("DCM", value)
        methods.append(method)
    copied.PatientIdentityRemoved = "YES"
    copied.DeidentificationMethod = [f"Rayology {version('rayology')}", "DICOM PS3.15 table E.1-1, January 2025"]
    copied.DeidentificationMethodCodeSequence = Sequence(methods)
    copied.LongitudinalTemporalInformationModified = "MODIFIED" if profile.config.dates == "shifted" else "REMOVED"
    if masked:
        copied.BurnedInAnnotation = "NO"


def _clean_pixels(copied: Dataset) -> None:
    """Blank comments of compressed pixels, cut what follows others; raise UnreadableImage if those end early."""
    pixels = copied.get("PixelData")
    if not isinstance(pixels, bytes):
        return
    if copied["PixelData"].is_undefined_length:
        copied["PixelData"].value = without_comments(pixels)
        return
    try:
        length = get_expected_length(copied)
    except (AttributeError, TypeError, ValueError):
        return  # not an image that any reader could show
    if len(pixels) < length:
        raise UnreadableImage(f"holds {len(pixels)} bytes of pixels, not {length}; truncated")
    if 0 < length < len(pixels):
        copied["PixelData"].value = pixels[:length] + bytes(length % 2)
