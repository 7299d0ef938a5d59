"""Rules that select images of a source, and the function that applies them."""

import re
from dataclasses import fields
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from rayology.config import Config
from rayology.data.dicom.facts import Facts
from rayology.data.dicom.geometry import Geometry
from rayology.data.dicom.values import ModalityCode

__all__ = ["EVERYTHING", "Bounds", "Orientation", "Selection", "orientation", "selected"]

Orientation = Literal["sagittal", "coronal", "axial", "oblique"]
MAIN: tuple[Orientation, ...] = ("sagittal", "coronal", "axial")
"""Planes whose normals are the patient's axes, in the order of the axes."""
NUMBERS = tuple(field.name for field in fields(Facts) if field.name != "is_localizer")


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
    """Rules for the wanted images; the defaults accept all."""

    modality: ModalityCode = ""
    """DICOM modality, such as CT; empty for any."""
    description: str = ""
    """Regular expression that the series' description must match somewhere, in either case; empty for any."""
    orientation: Literal["any", "axial", "coronal", "sagittal", "oblique"] = "any"
    """Plane of the slices."""
    tolerance_deg: Annotated[float, Field(ge=0, le=45)] = 25.0
    """Largest tilt in degrees from axial, coronal or sagittal before a plane counts as oblique."""
    ranges: dict[str, Bounds] = Field(default_factory=dict)
    """Ranges of the header's numbers, such as ``{"slice_thickness_mm": {"low": 0, "high": 2}}``."""

    @field_validator("description")
    @classmethod
    def _description_is_an_expression(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return pattern

    @field_validator("ranges")
    @classmethod
    def _ranges_name_known_numbers(cls, ranges: dict[str, Bounds]) -> dict[str, Bounds]:
        for name in ranges:
            if name not in NUMBERS:
                raise ValueError(f"{name!r} is not a number of a header; write one of: {', '.join(NUMBERS)}")
        return ranges


EVERYTHING = Selection()


def selected(
    facts: Facts, rules: Selection, *, modality: str = "", description: str = "", geometry: Geometry | None = None
) -> str:
    """Return why an image is not wanted, or an empty string if it is; the reason holds no value of the file."""
    plane = orientation(geometry or Geometry(), tolerance_deg=rules.tolerance_deg)
    if rules.modality not in {"", modality}:
        return f"its modality is not {rules.modality} (selection.modality)"
    if rules.description and not re.search(rules.description, description, re.IGNORECASE):
        return "its series' description does not match selection.description"
    if rules.orientation not in {"any", plane}:
        return f"it is {plane or 'of no known orientation'}, not {rules.orientation} (selection.orientation)"
    for name, bounds in rules.ranges.items():
        value = getattr(facts, name)
        if value is None:
            return f"it does not say its {name} (selection.ranges)"
        if not bounds.low <= value <= bounds.high:
            return f"its {name} lies outside {bounds.low:g} to {bounds.high:g} (selection.ranges)"
    return ""


def orientation(geometry: Geometry, *, tolerance_deg: float) -> Orientation | Literal[""]:
    """Return the plane of a slice, oblique if it is tilted further from the main ones; empty if unknown."""
    if geometry.normal is None:
        return ""
    cosines = np.abs(geometry.normal)
    main = int(cosines.argmax())
    # A cosine of 1 may be off in its last bit.
    is_oblique = np.degrees(np.arccos(min(cosines[main], 1.0))) > tolerance_deg
    return "oblique" if is_oblique else MAIN[main]
