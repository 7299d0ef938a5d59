"""What a header says about the acquisition of a frame: numbers, and no text beyond codes."""

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from rayology.data.dicom.geometry import functional_group, functional_groups
from rayology.data.dicom.values import decimals, integer, text

__all__ = ["NOTHING_KNOWN", "NUMBERS", "Facts", "description", "facts"]

MAX_TEXT = 64
"""Most characters of a long string (DICOM PS3.5 6.2), so that no file makes a pattern search for hours."""

NUMBERS = {
    "temporal_position": ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIdentifier"),
    "slice_thickness_mm": ("PixelMeasuresSequence", "SliceThickness"),
    "echo_time_ms": ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    "repetition_time_ms": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "flip_angle_deg": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "field_strength_t": ("", "MagneticFieldStrength"),
    "tube_voltage_kv": ("CTXRayDetailsSequence", "KVP"),
    "b_value": ("MRDiffusionSequence", "DiffusionBValue"),
    "trigger_time_ms": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    "inversion_time_ms": ("MRModifierSequence", "InversionTimes", "InversionTime"),
    "cardiac_phase_percent": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "frame_reference_time_ms": ("", "FrameReferenceTime"),
}
"""Functional group and keyword of each number (DICOM PS3.3 C.7.6.16, C.8.13.5), and its keyword in a file of one frame
if that differs (C.8.3.1, C.7.6.16.2.2)."""
TELLING = ("FrameContentSequence", "MRDiffusionSequence", "CTReconstructionSequence", "MRImageFrameTypeSequence")
"""Functional groups of what tells repeats apart besides numbers."""
MOMENT = re.compile(r"(\d{10,14}(\.\d*)?)([+-]\d{4})?")
"""Date and time of a DT (DICOM PS3.5 6.2), at least to the hour."""


@dataclass(frozen=True)
class Facts:
    """What selects frames and tells repeats apart, the preferred first; None if the file does not say."""

    rows: float | None = None
    columns: float | None = None
    temporal_position: float | None = None
    """Number of the repeat in time."""
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
    acquisition: float | None = None
    """Number of the acquisition in its series."""
    inversion_time_ms: float | None = None
    cardiac_phase_percent: float | None = None
    """Part of the time from one R wave to the next."""
    frame_reference_time_ms: float | None = None
    """Time of a PET frame after the start of its series."""
    image_type: float | None = None
    """Checksum of Frame Type or Image Type, and of the component of a complex image."""
    direction: float | None = None
    """Checksum of the gradient's direction in diffusion imaging."""
    kernel: float | None = None
    """Checksum of the names of the convolution kernel and the filter."""
    acquisition_time: float | None = None
    """Date and time at which the acquisition began, as one number YYYYMMDDHHMMSS."""
    content_time: float | None = None
    """Date and time of the pixels, as one number YYYYMMDDHHMMSS."""
    indices: tuple[float, ...] = ()
    """Index of a frame in each dimension of its file (DICOM PS3.3 C.7.6.17)."""


NOTHING_KNOWN = Facts()


def facts(dataset: Dataset, frame: int, kind: str) -> Facts:
    """Return what the header says about a frame of an image type, from its functional groups if there are any."""
    groups = functional_groups(dataset, frame)
    content, diffusion, kernel, component = (functional_group(groups, name, dataset) for name in TELLING)
    directions = functional_group((diffusion,), "DiffusionGradientDirectionSequence", diffusion) if groups else dataset
    return Facts(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        image_type=_checksum(kind + text(component, "ComplexImageComponent")),
        direction=_checksum(decimals(directions, "DiffusionGradientOrientation")),
        kernel=_checksum(text(kernel, "ConvolutionKernel") + text(dataset, "FilterType")),
        acquisition_time=_moment(content, "FrameAcquisitionDateTime", dataset, "Acquisition")
        or _moment(dataset, "AcquisitionDateTime", dataset, "Acquisition"),
        content_time=_moment(content, "FrameReferenceDateTime", dataset, "Content"),
        indices=decimals(content, "DimensionIndexValues"),
        **{name: _number(dataset, groups, name) for name in NUMBERS},
    )


def description(dataset: Dataset) -> str:
    """Return the series' description in one line; it may hold anything, so match it and never keep it."""
    return " ".join(text(dataset, "SeriesDescription").split())[:MAX_TEXT]


def _number(dataset: Dataset, groups: Sequence[Dataset], name: str) -> float | None:
    group, keyword, *plain = NUMBERS[name]
    found = _finite(functional_group(groups, group, dataset), keyword) if groups else None
    return _finite(dataset, plain[0] if plain else keyword) if found is None else found


def _finite(dataset: Dataset, keyword: str) -> float | None:
    """Return the only number of an attribute, if it has just one and that is finite."""
    numbers = decimals(dataset, keyword)
    return numbers[0] if len(numbers) == 1 and math.isfinite(numbers[0]) else None


def _checksum(value: object) -> float | None:
    """Return a number that stands for a text or several numbers, which are not kept."""
    return float(zlib.crc32(str(value).encode())) if value else None


def _moment(content: Dataset, keyword: str, dataset: Dataset, of: str) -> float | None:
    """Return a frame's DT, or else the DA and TM of its file, to a few milliseconds and without a zone."""
    moment = text(content, keyword) or text(dataset, f"{of}Date").rjust(8, "0") + text(dataset, f"{of}Time")
    found = MOMENT.fullmatch(moment)
    return float(found[1].ljust(14, "0")) if found else None
