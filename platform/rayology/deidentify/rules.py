"""Rules, as data, for files with identity in their pixels or documents: held back, masked or let pass."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from rayology.config import Config
from rayology.data.dicom.image_kind import SCREEN_SAVE, SECONDARY_CAPTURE, SLIDE_LABEL

__all__ = ["BUILT_IN", "EMBEDDED_OVERLAY", "Rectangle", "Rule", "screened"]


class Rectangle(Config):
    """Pixels to blacken, in every frame."""

    top: NonNegativeInt
    """First row, from 0."""
    left: NonNegativeInt
    """First column, from 0."""
    rows: PositiveInt
    """Number of rows."""
    columns: PositiveInt
    """Number of columns."""


class Rule(Config):
    """What happens to files whose attributes fit."""

    reason: Annotated[str, Field(min_length=1)]
    """Words for the report, such as 'ultrasound of the ward's two scanners'."""
    when: Mapping[str, str]
    """Regular expressions by DICOM keyword, for the whole value in upper or lower case, several values joined by
    backslashes; {} fits every file."""
    action: Literal["quarantine", "mask", "pass", "allow"] = "quarantine"
    """What happens to the file: it is held back, its rectangles are blackened, or it may pass; or the values of every
    keyword of `when` are allowed to stand elsewhere, such as a test object named like a body part."""
    rectangles: tuple[Rectangle, ...] = ()
    """Rectangles to blacken; name their Rows and Columns in `when`. Files that one lies outside of are held back."""

    @model_validator(mode="after")
    def _can_be_followed(self) -> Self:
        for keyword, pattern in self.when.items():
            if tag_for_keyword(keyword) is None:
                raise ValueError(f"when.{keyword}: is not a DICOM keyword; write one such as Modality")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"when.{keyword}: is not a regular expression: {error}") from None
        if (self.action == "mask") != bool(self.rectangles):
            raise ValueError("rectangles go with the action mask, and it needs at least one")
        return self

    def fits(self, dataset: Dataset) -> bool:
        """Tell whether every attribute fits; one that is missing counts as empty."""
        return all(
            re.fullmatch(pattern, _text(dataset, keyword), re.IGNORECASE) for keyword, pattern in self.when.items()
        )


STORAGE = r"1\.2\.840\.10008\.5\.1\.4\.1\.1\."
BUILT_IN = (
    Rule(reason="a directory of files", when={"SOPClassUID": r"1\.2\.840\.10008\.1\.3\.10"}),
    Rule(reason="a private kind of object", when={"SOPClassUID": r"(?!1\.2\.840\.10008\.).*"}),
    Rule(reason="burned-in annotation", when={"BurnedInAnnotation": "YES"}),
    Rule(reason="recognizable face", when={"RecognizableVisualFeatures": "YES"}),
    Rule(reason="secondary capture", when={"SOPClassUID": SECONDARY_CAPTURE}),
    Rule(reason="secondary capture", when={"ConversionType": r".+"}),
    Rule(reason="screen save", when={"ImageType": f".*({SCREEN_SAVE}).*"}),
    Rule(reason="photograph of a slide's label", when={"ImageType": f".*({SLIDE_LABEL}).*"}),
    Rule(reason="text in the pixels is usual in this modality", when={"Modality": "US|IVUS|ES|XC|GM|DG|DOC|OT|HC"}),
    Rule(reason="encapsulated document", when={"SOPClassUID": STORAGE + r"104\..*"}),
    Rule(reason="structured report", when={"SOPClassUID": STORAGE + r"88\..*"}),
    Rule(reason="voice", when={"SOPClassUID": STORAGE + r"9\.4\..*"}),
    Rule(reason="raw data of unknown content", when={"SOPClassUID": STORAGE + r"66"}),
)
"""Files that are held back unless a rule of the user lets them pass or masks them."""
EMBEDDED_OVERLAY = Rule(reason="overlay within the bits of the pixels", when={})
"""The retired form of overlays (DICOM PS3.5 8.1.2), which stay when their group is removed."""


def screened(dataset: Dataset, own: tuple[Rule, ...]) -> Rule | None:
    """Return the first rule that decides, the user's before the built-in ones; None if the file may pass."""
    for rule in (*own, *BUILT_IN):
        if rule.action != "allow" and rule.fits(dataset):
            return rule
    return EMBEDDED_OVERLAY if _has_embedded_overlay(dataset) else None


def _has_embedded_overlay(dataset: Dataset) -> bool:
    positions = (dataset.get((0x6000 + 2 * plane, 0x0102)) for plane in range(16))
    return any(element is not None and element.value for element in positions)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if value is None and keyword == "SOPClassUID":
        value = dataset.file_meta.get("MediaStorageSOPClassUID")  # a directory says it there alone
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
