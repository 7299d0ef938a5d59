"""What the numbers of PET mean: activity or uptake, on one scale for a whole dataset.

Files of PET carry a rescale slope each, so their values compare only in modality units; a range for each series, as for
MR, would undo that.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.valuerep import DA, DT, TM

__all__ = ["MODALITY", "pet_unit", "shared_range", "suv_scale"]

MODALITY = "PT"
DAY_S = 24 * 60 * 60
MAX_VALUES_OF_A_SERIES = 2**16
"""So that a large series weighs no more than a small one, and all fit in memory."""


def pet_unit(dataset: Dataset) -> str:
    """Return the code of the unit, such as BQML or CNTS; empty where there is none (DICOM PS3.3 C.8.9.1)."""
    code = str(dataset.get("Units") or "")
    return code if re.fullmatch(r"[A-Z0-9]{2,16}", code) else ""


def suv_scale(dataset: Dataset) -> float | None:
    """Return by what Bq/ml become body-weight SUV in g/ml; None where the header lacks a fact or values are no BQML.

    SUVbw is activity times weight over the dose that is left at the time to which the images are decay-corrected: the
    start of the series for START, the injection for ADMIN (DICOM PS3.3 C.8.9.1).
    """
    corrections = {str(value) for value in dataset.get("CorrectedImage") or ()}
    if pet_unit(dataset) != "BQML" or not {"ATTN", "DECY"} <= corrections:
        return None
    try:
        (tracer,) = dataset["RadiopharmaceuticalInformationSequence"].value
        dose_bq, half_life_s = float(tracer["RadionuclideTotalDose"].value), float(tracer["RadionuclideHalfLife"].value)
        weight_g = 1000 * float(dataset["PatientWeight"].value)
        elapsed_s = 0.0 if dataset.get("DecayCorrection") == "ADMIN" else _uptake_time_s(dataset, tracer)
    except (KeyError, TypeError, ValueError):
        return None
    if dataset.get("DecayCorrection") not in {"ADMIN", "START"} or min(dose_bq, half_life_s, weight_g) <= 0:
        return None
    return float(weight_g / (dose_bq * 2 ** (-elapsed_s / half_life_s)))


def shared_range(series: Iterable[NDArray[np.float32]], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Return one range for all series of a dataset: percentiles over them together, each counting about the same."""
    # Copied, for a view would keep its whole series in memory.
    samples = [values.ravel()[:: max(1, values.size // MAX_VALUES_OF_A_SERIES)].copy() for values in series]
    low, high = np.percentile(np.concatenate(samples), percentiles).tolist()
    return low, high


def _uptake_time_s(dataset: Dataset, tracer: Dataset) -> float:
    """Return the seconds from the injection to the start of the series.

    Raises:
        ValueError: a time is missing, or the series' was overwritten after the acquisition.
    """
    start = _moment(dataset, "Series")
    if _moment(dataset, "Acquisition") < start - timedelta(seconds=1):  # scanners round them differently
        raise ValueError("the series starts after its acquisition")
    injected = tracer.get("RadiopharmaceuticalStartDateTime")
    if injected:
        elapsed_s = (start - DT(str(injected)).replace(tzinfo=None)).total_seconds()
    else:  # of the day before where it would lie after the start
        injection = datetime.combine(start.date(), TM(str(tracer["RadiopharmaceuticalStartTime"].value)))
        elapsed_s = (start - injection) / timedelta(seconds=1) % DAY_S
    if elapsed_s < 0:
        raise ValueError("the series starts before the injection")
    return float(elapsed_s)


def _moment(dataset: Dataset, of: str) -> datetime:
    day, clock = (str(dataset[f"{of}{part}"].value) for part in ("Date", "Time"))
    return datetime.combine(DA(day), TM(clock))
