"""What a header says about the acquisition of a frame: numbers, and no text beyond codes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from rayology.data.dicom.geometry import functional_group, functional_groups
from rayology.data.dicom.values import decimals, integer, text

__all__ = ["Facts", "description", "facts"]

DESCRIPTION = "SeriesDescription"
"""Free text, which is matched but never kept."""
MAX_TEXT = 64
"""Most characters of a long string (DICOM PS3.5 6.2), so that no file makes a pattern search for hours."""

NUMBERS = {
    "slice_thickness_mm": ("PixelMeasuresSequence", "SliceThickness"),
    "echo_time_ms": ("MREchoSequence", "EffectiveEchoTime"),
    "repetition_time_ms": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "flip_angle_deg": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "field_strength_t": ("", "MagneticFieldStrength"),
    "tube_voltage_kv": ("CTXRayDetailsSequence", "KVP"),
    "b_value": ("MRDiffusionSequence", "DiffusionBValue"),
    "trigger_time_ms": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "temporal_position": ("FrameContentSequence", "TemporalPositionIndex"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber"),
}
"""Functional group and keyword of each number in a multi-frame file (DICOM PS3.3 C.7.6.16, C.8.13.5)."""

PLAIN = {
    "echo_time_ms": "EchoTime",
    "trigger_time_ms": "TriggerTime",
    "temporal_position": "TemporalPositionIdentifier",
    "acquisition": "AcquisitionNumber",
}
"""Keyword in a single-frame file, if it differs (DICOM PS3.3 C.8.3.1, C.7.6.16.2.2)."""


@dataclass(frozen=True)
class Facts:
    """What selects frames and tells repeats of one position apart; None if the file does not say."""

    rows: float | None = None
    columns: float | None = None
    slice_thickness_mm: float | None = None
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    flip_angle_deg: float | None = None
    field_strength_t: float | None = None
    tube_voltage_kv: float | None = None
    b_value: float | None = None
    """Diffusion weighting in s/mm2."""
    trigger_time_ms: float | None = None
    """Delay after the R wave."""
    temporal_position: float | None = None
    """Number of the repeat in time."""
    acquisition: float | None = None
    """Number of the acquisition in its series."""
    is_localizer: bool = False
    """Whether it only shows where other slices lie (Image Type value 3, DICOM PS3.3 C.8.2.1.1.1)."""


def facts(dataset: Dataset, frame: int) -> Facts:
    """Return what the header says about a frame, from its functional groups if there are any."""
    image_type = text(dataset, "ImageType").upper()
    groups = functional_groups(dataset, frame)
    numbers = {name: _number(dataset, groups, name) for name in NUMBERS}
    return Facts(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        is_localizer="LOCALIZER" in image_type,
        **numbers,
    )


def description(dataset: Dataset) -> str:
    """Return the series' description in one line; it may hold anything, so match it and never keep it."""
    return " ".join(text(dataset, DESCRIPTION).split())[:MAX_TEXT]


def _number(dataset: Dataset, groups: Sequence[Dataset], name: str) -> float | None:
    group, keyword = NUMBERS[name]
    plain = PLAIN.get(name, keyword)
    holder = functional_group(groups, group, dataset)
    found = _finite(holder, keyword)
    is_asked = holder is dataset and keyword == plain
    return found if found is not None or is_asked else _finite(dataset, plain)


def _finite(dataset: Dataset, keyword: str) -> float | None:
    """Return the only number of an attribute, if it has just one and that is finite."""
    numbers = decimals(dataset, keyword)
    return numbers[0] if len(numbers) == 1 and math.isfinite(numbers[0]) else None
