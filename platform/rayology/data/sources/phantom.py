"""A source that needs no data: labelled thorax CT of synthetic patients, drawn once and written as DICOM."""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, NonNegativeInt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from rayology.config import Config
from rayology.data.dicom import read
from rayology.data.sources.masks import read_mask
from rayology.data.sources.source import Example, Item
from rayology.data.sources.thorax import FIELD_OF_VIEW_MM, LESIONS, SLICE_SPACING_MM, Drawing, draw_patient
from rayology.errors import SourceError

__all__ = ["PhantomConfig", "PhantomSource"]

logger = logging.getLogger(__name__)

_EDITION = 1
"""Counts the ways of drawing; a new one makes folders of older drawings stale."""

_INTERCEPT_HU = -1024
_LARGEST_STORED = 4095


class PhantomSource:
    """Synthetic patients in ``sources/phantom-HASH`` below a root, drawn when they are first listed."""

    def __init__(self, config: "PhantomConfig", root: Path) -> None:
        self.config = config
        self.path = root / "sources" / f"phantom-{_digest(config.model_dump_json(), _EDITION)[:12]}"

    def items(self) -> Sequence[Item]:
        """List every slice with its class and mask; draw them first where that was not done before.

        Raises:
            SourceError: files that were drawn before are missing.
        """
        if not self.path.is_dir():
            self._write()
        images = sorted((self.path / "images").glob("*/*/*.dcm"))
        expected = self.config.patients * self.config.slices
        if len(images) != expected:
            raise SourceError(f"{self.path}: {len(images)} of {expected} files; delete the folder to draw them anew")
        return [Item(image, label=image.parts[-3], beside=(self._mask_of(image),)) for image in images]

    def read(self, item: Item) -> Iterator[Example]:
        """Read a slice with its class and mask, and raise what the DICOM reader raises."""
        (instance,) = read(item.path)
        yield Example(instance, label=item.label, mask=read_mask(item.beside[0], instance.valid.shape))

    def _mask_of(self, image: Path) -> Path:
        return self.path / "masks" / Path(*image.parts[-3:]).with_suffix(".png")

    def _write(self) -> None:
        """Draw into a folder beside the final one and rename it, so that a kill leaves nothing half."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".phantom-") as scratch:
            unfinished = Path(scratch) / self.path.name
            for patient in range(self.config.patients):
                _write_patient(self.config, patient, unfinished)
            try:
                unfinished.rename(self.path)
            except OSError:
                if not self.path.is_dir():
                    raise
                logger.info("Another process drew the same patients first.")
        logger.info("Drew %d patients in %s.", self.config.patients, self.path)


class PhantomConfig(Config):
    """Synthetic patients, drawn and written as DICOM: nothing real is needed."""

    kind: Literal["phantom"] = "phantom"
    """This source."""
    patients: Annotated[int, Field(ge=1, le=9999)] = 60
    """How many patients; each has one class of lesion, in turn."""
    slices: Annotated[int, Field(ge=1, le=16)] = 8
    """How many axial slices of each patient, 5 mm apart."""
    size: Annotated[int, Field(ge=32, le=512)] = 128
    """Rows and columns of a slice; the field of view is 360 mm."""
    seed: NonNegativeInt = 0
    """Of everything drawn; patients of another seed are other patients."""

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Return the config of a few small patients of each class."""
        del folder
        return cls(patients=9, slices=1, size=32)

    def build(self, root: Path) -> PhantomSource:
        """Keep the drawn files below a root."""
        return PhantomSource(self, root)


def _write_patient(config: PhantomConfig, patient: int, folder: Path) -> None:
    """Write images and masks of one patient, who is the same however many patients there are."""
    lesion = sorted(LESIONS)[patient % len(LESIONS)]
    drawing = draw_patient((config.seed, patient), lesion=lesion, size=config.size, slices=config.slices)

    header = _header(config, patient)
    place = Path(lesion, str(header.PatientID))
    images, masks = folder / "images" / place, folder / "masks" / place
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index in range(config.slices):
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


def _header(config: PhantomConfig, patient: int) -> Dataset:
    """Return what the slices of a patient share: the CT Image IOD (DICOM PS3.3 A.3), marked as synthetic."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in (_SHARED | _identity(config, patient) | _grid(config.size)).items():
        setattr(header, keyword, value)
    return header


def _identity(config: PhantomConfig, patient: int) -> dict[str, str]:
    """Return the names of a patient's objects, which depend on all that shapes their pixels."""
    key = _digest(config.model_copy(update={"patients": 0}).model_dump_json(), _EDITION, patient)
    return {
        "PatientID": f"PHANTOM-{patient + 1:04}",
        "PatientName": f"PHANTOM^{patient + 1:04}",
        "StudyInstanceUID": _uid(key, "study"),
        "SeriesInstanceUID": _uid(key, "series"),
        "FrameOfReferenceUID": _uid(key, "frame of reference"),
    }


def _grid(size: int) -> dict[str, int | list[float]]:
    spacing = round(FIELD_OF_VIEW_MM / size, 8)
    return {"Rows": size, "Columns": size, "PixelSpacing": [spacing, spacing]}


def _digest(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def _uid(*parts: object) -> str:
    """Derive a UID from 128 bits of a digest (DICOM PS3.5 B.2)."""
    return f"2.25.{int(_digest(*parts)[:32], 16)}"


_SHARED: dict[str, str | float | list[str] | list[float]] = {
    "SOPClassUID": CTImageStorage,
    "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
    "SyntheticData": "YES",
    "DerivationDescription": "Drawn by the phantom of Rayology; no person was imaged",
    "Modality": "CT",
    "Manufacturer": "Rayology",
    "PatientBirthDate": "",
    "PatientSex": "",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Synthetic: no person was imaged",
    "PatientPosition": "HFS",
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "PositionReferenceIndicator": "",
    "KVP": "",
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
