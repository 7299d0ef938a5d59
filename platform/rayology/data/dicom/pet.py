"""What the numbers of PET mean: their units, and the scale from activity to body-weight SUV."""

import re
from datetime import datetime, timedelta

from pydicom import Dataset
from pydicom.valuerep import DT

from rayology.data.dicom.values import decimals, text

__all__ = ["BQML", "PET", "SUV", "UNIT_NAMES", "suv_scale", "units"]

PET = "PT"
BQML, SUV = "BQML", "GML"
UNIT_NAMES = {
    BQML: "Bq/ml",
    SUV: "g/ml (SUV by body weight)",
    "CNTS": "counts",
    "GML_LBM": "g/ml (SUV by lean body mass)",
}
"""Units by their code (DICOM PS3.3 C.8.9.1.1.3), as people write them."""
CODE = r"[A-Z0-9]{2,16}"
DOSES_BQ = (1e5, 1e11)
"""Least and greatest dose; a smaller number was written in MBq."""
WEIGHTS_KG = (0.2, 500.0)
"""Least and greatest weight, of a rat or of the heaviest people; a greater number was written in grams."""
SHORT_S = 3 * 3600
"""Half-life of which hardly anything is left on the next day, so that an injection without a date was on the same."""
MAX_HALF_LIVES = 10
"""Half-lives after which nothing is left to be imaged, so that one of the clocks is wrong."""
ROUNDING = timedelta(seconds=1)


def units(dataset: Dataset) -> str:
    """Return the code of the units, such as BQML, GML for SUV by body weight, or GML_LBM; empty if there is none."""
    code, kind = text(dataset, "Units"), text(dataset, "SUVType")
    found = code if kind in {"", "BW"} else f"{code}_{kind}"  # DICOM PS3.3 C.8.9.1: without a type, it is BW
    return found if re.fullmatch(rf"{CODE}(_{CODE})?", found) else ""


def suv_scale(dataset: Dataset) -> float | None:
    """Return the factor from Bq/ml to SUV by body weight in g/ml, or None if the header does not give it for certain.

    SUV is activity times weight over the dose that is left at the time to which decay is corrected, the start of the
    series (Decay Correction START) or the injection (ADMIN; DICOM PS3.3 C.8.9.1, C.8.9.2).
    """
    corrections = {value.strip() for value in text(dataset, "CorrectedImage").split("\\")}
    if units(dataset) != BQML or not {"ATTN", "DECY"} <= corrections:
        return None
    try:
        (tracer,) = dataset["RadiopharmaceuticalInformationSequence"].value
        (dose_bq,), (half_life_s,) = (decimals(tracer, f"Radionuclide{name}") for name in ("TotalDose", "HalfLife"))
        (weight_kg,) = decimals(dataset, "PatientWeight")
        elapsed_s = _elapsed_s(dataset, tracer, half_life_s)
        scale = 1000 * weight_kg / (dose_bq * 2 ** (-elapsed_s / half_life_s))
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None
    facts = ((dose_bq, DOSES_BQ), (weight_kg, WEIGHTS_KG), (elapsed_s, (0, MAX_HALF_LIVES * half_life_s)))
    return scale if all(low <= fact <= high for fact, (low, high) in facts) else None


def _elapsed_s(dataset: Dataset, tracer: Dataset, half_life_s: float) -> float:
    """Return the seconds for which the dose has decayed, and raise what keeps them from being certain."""
    match text(dataset, "DecayCorrection"):
        case "ADMIN":
            return 0.0
        case "START":
            day, injected = text(dataset, "SeriesDate"), text(tracer, "RadiopharmaceuticalStartDateTime")
            if not injected and half_life_s > SHORT_S:
                raise ValueError("the day of the injection is not known")
            injection = _moment(injected or day + text(tracer, "RadiopharmaceuticalStartTime"))
            start = _moment(day + text(dataset, "SeriesTime"))
            acquired = _moment(text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime"))
            if not -ROUNDING <= acquired - start < timedelta(days=1):
                raise ValueError("the start of the series was overwritten")
            zone = text(dataset, "TimezoneOffsetFromUTC") if injection.tzinfo else ""
            return (_moment(day + text(dataset, "SeriesTime") + zone) - injection).total_seconds()
    raise ValueError("the time to which decay is corrected is not known")


def _moment(value: str) -> datetime:
    """Return the value of a DT, and raise ValueError if it is not exact to the minute."""
    if not re.match(r"\d{12}", value):
        raise ValueError("no minute is given")
    return DT(value)
