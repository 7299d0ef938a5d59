"""Drawn patients as DICOM: CT slices of their own, marked as synthetic, each with the mask of its lesion."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from rayology.phantom.lesions import LESIONS
from rayology.phantom.patient import Drawing, draw_patient
from rayology.phantom.scanner import FIELD_OF_VIEW_MM, SLICE_SPACING_MM

__all__ = ["EDITION", "digest", "write_patient"]

EDITION = 1
"""Number of this way of drawing; a new one makes folders of older drawings stale."""

_INTERCEPT_HU = -1024
_LARGEST_STORED = 4095


def write_patient(folder: Path, patient: int, *, seed: int, size: int, slices: int, key: str) -> None:
    """Write images and masks of one patient, who is the same however many patients there are.

    ``key`` names all that shapes the pixels: UIDs are derived from it.
    """
    lesion = sorted(LESIONS)[patient % len(LESIONS)]
    drawing = draw_patient((seed, patient), lesion=lesion, size=size, slices=slices)

    header = _header(patient, size=size, key=key)
    place = Path(lesion, str(header.PatientID))
    images, masks = folder / "images" / place, folder / "masks" / place
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index in range(slices):
        _fill(header, drawing, index)
        header.save_as(images / f"{index:02}.dcm", enforce_file_format=True)
        Image.fromarray(drawing.mask[index].astype(np.uint8) * 255).save(masks / f"{index:02}.png")


def _fill(header: Dataset, drawing: Drawing, index: int) -> None:
    """Turn the header of a patient into that of a slice, in place: building one is slower than drawing."""
    edge = float(header.PixelSpacing[0]) * (header.Rows - 1) / 2
    height = float(drawing.heights_mm[index])
    header.SOPInstanceUID = _uid(header.SeriesInstanceUID, index)
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.InstanceNumber = index + 1
    header.ImagePositionPatient = [-edge, -edge, round(height, 3)]
    header.PixelData = _stored(drawing.hu[index]).tobytes()


def _stored(hu: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.clip(np.rint(hu - _INTERCEPT_HU), 0, _LARGEST_STORED).astype("<u2")


def _header(patient: int, *, size: int, key: str) -> Dataset:
    """Return what the slices of a patient share: the CT Image IOD (DICOM PS3.3 A.3), marked as synthetic.

    The names of a patient's objects depend on all that shapes their pixels.
    """
    origin, spacing = digest(key, EDITION, patient), round(FIELD_OF_VIEW_MM / size, 8)
    own = {
        "PatientID": f"PHANTOM-{patient + 1:04}",
        "PatientName": f"PHANTOM^{patient + 1:04}",
        "StudyInstanceUID": _uid(origin, "study"),
        "SeriesInstanceUID": _uid(origin, "series"),
        "FrameOfReferenceUID": _uid(origin, "frame of reference"),
        "Rows": size,
        "Columns": size,
        "PixelSpacing": [spacing, spacing],
    }
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in (_SHARED | own).items():
        setattr(header, keyword, value)
    return header


def digest(*parts: object) -> str:
    """Return a hash of what the names of files and objects depend on."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def _uid(*parts: object) -> str:
    """Derive a UID from 128 bits of a digest (DICOM PS3.5 B.2)."""
    return f"2.25.{int(digest(*parts)[:32], 16)}"


_EMPTY = (
    *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
    *("ReferringPhysicianName", "PositionReferenceIndicator", "KVP"),
)
"""What a CT image must hold and may leave empty."""
_SHARED: dict[str, str | float | list[str] | list[float]] = {
    **dict.fromkeys(_EMPTY, ""),
    "SOPClassUID": CTImageStorage,
    "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
    "SyntheticData": "YES",
    "DerivationDescription": "Drawn by the phantom of Rayology; no person was imaged",
    "Modality": "CT",
    "Manufacturer": "Rayology",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Synthetic: no person was imaged",
    "PatientPosition": "HFS",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "BodyPartExamined": "CHEST",
    "BurnedInAnnotation": "NO",
    "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    "SliceThickness": SLICE_SPACING_MM,
    "SpacingBetweenSlices": SLICE_SPACING_MM,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "RescaleIntercept": _INTERCEPT_HU,
    "RescaleSlope": 1,
    "RescaleType": "HU",
    "WindowCenter": 40,
    "WindowWidth": 400,
}
"""What every slice of every patient has in common."""
