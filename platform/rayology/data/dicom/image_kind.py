"""What an image shows besides anatomy, as its own header says: localizers, mosaics, and pages with text.

X-rays and slices that were converted from pictures are secondary captures too. Only next to images of the modality's
own class in one study is a secondary capture a copy of a screen.
"""

import re
from collections.abc import Collection
from typing import Literal

from pydicom import Dataset

from rayology.data.dicom.geometry import functional_group, functional_groups
from rayology.data.dicom.values import text

__all__ = ["CAPTURE", "SCREEN_SAVE", "SECONDARY_CAPTURE", "SLIDE_LABEL", "ImageKind", "image_type", "unasked_kind"]

ImageKind = Literal["localizers", "mosaics", "pages"]

SCREEN_SAVE = r"SCREEN|SAVE|CAPTURE|DOSE[_ ]?(INFO|REPORT)|\bPROT\b"
"""Pattern of Image Types by which vendors mark screen saves, dose reports and protocols."""
SLIDE_LABEL = r"(?<![^\\])(LABEL|OVERVIEW)(?![^\\])"
"""Pattern of Image Types of a slide's photographs that show its label (DICOM PS3.3 C.8.12.4.1.1)."""
SECONDARY_CAPTURE = r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(\..*)?"
"""Pattern of the SOP Class UID of secondary captures, of one frame and of many (DICOM PS3.4 B.5)."""
KEPT = "; to keep it, name {} in selection.include"
CAPTURE = f"is a secondary capture in a study with images of the modality's own class{KEPT.format('pages')}"

MARKS: tuple[tuple[ImageKind, str, str, str], ...] = (
    # DICOM PS3.3 C.8.2.1.1.1, C.8.3.1.1.1
    ("localizers", "ImageType", "LOCALI[SZ]ER|SCOUT|TOPOGRAM", "is a localizer"),
    ("mosaics", "ImageType", "MOSAIC", "is a mosaic of slices"),
    ("pages", "ImageType", SCREEN_SAVE, "is a screen save or a report by its Image Type"),
    ("pages", "BurnedInAnnotation", "^YES$", "has text in its pixels by its Burned In Annotation"),
    ("pages", "ConversionType", "^(SD|DRW)$", "is a scanned document or a drawing by its Conversion Type"),
    ("pages", "Modality", "^DOC$", "is a document by its Modality"),
    ("pages", "ImageType", rf"^SM\\.*{SLIDE_LABEL}", "shows the label of a slide by its Image Type"),
)
"""Kind, attribute, pattern of its value (an Image Type follows its modality), and what that says about the image."""
FRAME_TYPES = (
    *("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence"),
    "USImageDescriptionSequence",
)
"""Functional groups that hold the Frame Type, which replaces the Image Type of the file (DICOM PS3.3 C.8.16.1)."""


def image_type(dataset: Dataset, frame: int) -> str:
    """Return the values of a frame's Frame Type, or else of the Image Type, in capitals and joined by backslashes."""
    groups = functional_groups(dataset, frame)
    found = (text(functional_group(groups, name, dataset), "FrameType") for name in FRAME_TYPES if groups)
    return (next(filter(None, found), "") or text(dataset, "ImageType")).upper()


def unasked_kind(dataset: Dataset, image_type: str, asked: Collection[ImageKind]) -> str:
    """Return why an image is of a kind that is left out unless it is asked for, or an empty string if it is not."""
    for kind, keyword, pattern, reason in MARKS:
        found = f"{text(dataset, 'Modality')}\\{image_type}" if keyword == "ImageType" else text(dataset, keyword)
        if kind not in asked and re.search(pattern, found.upper()):
            return reason + KEPT.format(kind)
    return ""
