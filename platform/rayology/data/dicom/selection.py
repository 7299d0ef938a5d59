"""Rules that select images of a source, and the function that applies them."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import Field, field_validator, model_validator
from pydicom import Dataset, uid
from pydicom.config import IGNORE
from pydicom.uid import UID

from rayology.config import Config
from rayology.data.dicom.facts import NUMBERS, Facts, description
from rayology.data.dicom.geometry import Geometry
from rayology.data.dicom.image_kind import ImageKind, unasked_kind
from rayology.data.dicom.values import ModalityCode, modality, text

__all__ = ["EVERYTHING", "Bounds", "Orientation", "Selection", "orientation", "selected"]

Orientation = Literal["sagittal", "coronal", "axial", "oblique"]
MAIN: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")
"""Planes whose normals are the patient's axes, in the order of the axes."""


class Bounds(Config):
    """A range of numbers, both ends included."""

    low: Annotated[float, Field(ge=0)] = 0.0
    """Lowest number."""
    high: Annotated[float, Field(ge=0)] = 1e9
    """Highest number."""

    @model_validator(mode="after")
    def _low_is_not_above_high(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} must not lie above high {self.high:g}")
        return self


class Selection(Config):
    """Rules for the wanted images; the defaults accept all but localizers, mosaics and pages with text."""

    modality: ModalityCode = ""
    """DICOM modality, such as CT; empty for any."""
    description: str = ""
    """Regular expression that the series' description must match somewhere, in either case; empty for any."""
    image_type: str = ""
    """Regular expression that Image Type, or a frame's Frame Type, must match somewhere, in either case, its values
    joined by backslashes; empty for any."""
    sop_class: str = ""
    """SOP class by its UID or its keyword, such as CTImageStorage; empty for any."""
    include: tuple[ImageKind, ...] = ()
    """Kinds of images that are left out unless they are named here: localizers (scouts), mosaics of slices, and pages
    with text in their pixels, such as screen saves."""
    orientation: Literal["any", "axial", "coronal", "sagittal", "oblique"] = "any"
    """Plane of the slices."""
    tolerance_deg: Annotated[float, Field(ge=0, le=45)] = 25.0
    """Largest tilt in degrees from axial, coronal or sagittal before a plane counts as oblique."""
    ranges: dict[str, Bounds] = Field(default_factory=dict)
    """Ranges of the header's numbers, such as ``{"slice_thickness_mm": {"low": 0, "high": 2}}``."""

    @field_validator("description", "image_type")
    @classmethod
    def _text_is_matched_by_an_expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern

    @field_validator("sop_class")
    @classmethod
    def _sop_class_is_known(cls, name: str) -> str:
        if not re.fullmatch("[0-9.]{0,64}", name) and not isinstance(getattr(uid, name, None), UID):
            raise ValueError(f"{name!r} is not a SOP class; write its UID, or its keyword, such as CTImageStorage")
        return name

    @field_validator("ranges")
    @classmethod
    def _ranges_name_known_numbers(cls, ranges: dict[str, Bounds]) -> dict[str, Bounds]:
        known = ("rows", "columns", *NUMBERS)
        for name in ranges:
            if name not in known:
                raise ValueError(f"{name!r} is not a number of a header; write one of: {', '.join(known)}")
        return ranges


EVERYTHING = Selection(include=get_args(ImageKind))
"""Rules that accept every image, the default if one file is read; sources and volumes leave kinds out by default."""


def selected(dataset: Dataset, rules: Selection, facts: Facts, geometry: Geometry, image_type: str) -> str:
    """Return why a frame is not wanted, or an empty string if it is; the reason holds no value of the file."""
    return next(_reasons(dataset, rules, facts, geometry, image_type), "")


def _reasons(dataset: Dataset, rules: Selection, facts: Facts, geometry: Geometry, image_type: str) -> Iterator[str]:
    if rules.modality and rules.modality != modality(dataset):
        yield f"its modality is not {rules.modality} (selection.modality)"
    if rules.description and not re.search(rules.description, description(dataset), re.IGNORECASE):
        yield "its series' description does not match selection.description"
    sop_class = text(dataset, "SOPClassUID")
    if rules.sop_class and rules.sop_class not in {sop_class, UID(sop_class, validation_mode=IGNORE).keyword}:
        yield f"its SOP class is not {rules.sop_class} (selection.sop_class)"
    if rules.image_type and not re.search(rules.image_type, image_type, re.IGNORECASE):
        yield "its Image Type does not match selection.image_type"
    if kind := unasked_kind(dataset, image_type, rules.include):
        yield kind
    plane = "any" if rules.orientation == "any" else orientation(geometry, tolerance_deg=rules.tolerance_deg)
    if plane != rules.orientation:
        yield f"it is {plane or 'of no known orientation'}, not {rules.orientation} (selection.orientation)"
    for name, bounds in rules.ranges.items():
        value = getattr(facts, name)
        if value is None:
            yield f"it does not say its {name} (selection.ranges)"
        elif not bounds.low <= value <= bounds.high:
            yield f"its {name} lies outside {bounds.low:g} to {bounds.high:g} (selection.ranges)"


def orientation(geometry: Geometry, *, tolerance_deg: float) -> Orientation | Literal[""]:
    """Return the plane of a slice, oblique if it is tilted further from the main ones; empty if unknown."""
    if geometry.normal is None:
        return ""
    cosines = np.abs(geometry.normal)
    main = int(cosines.argmax())
    # A cosine of 1 may be off in its last bit.
    is_oblique = np.degrees(np.arccos(min(cosines[main], 1.0))) > tolerance_deg
    return "oblique" if is_oblique else MAIN[main]
