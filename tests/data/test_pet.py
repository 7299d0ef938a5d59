"""PET on one scale: activity, body-weight SUV, and one range for a dataset."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.data.peaks import peak_bytes

from rayology.data import PreparationConfig
from rayology.data.curation import _with_shared_range
from rayology.data.dicom import read
from rayology.data.dicom.geometry import Geometry
from rayology.data.identity import Identity, pseudonyms
from rayology.data.pet import pet_unit, shared_range, suv_scale
from rayology.data.records import ImageRecord

HALF_LIFE_S = 6586.2  # fluorine-18


def pet(**attributes: object) -> Dataset:
    """Return the header of a series that starts one half-life after the injection of 200 MBq into 80 kg."""
    tracer = Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "2E8", str(HALF_LIFE_S)
    tracer.RadiopharmaceuticalStartTime = "100000.00"
    dataset = Dataset()
    dataset.Units, dataset.CorrectedImage, dataset.DecayCorrection = "BQML", ["DECY", "ATTN", "SCAT"], "START"
    dataset.SeriesDate, dataset.SeriesTime = "20200101", "114946.2"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20200101", "114946.199985"
    dataset.PatientWeight = "80"
    dataset.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    for keyword, value in attributes.items():
        setattr(tracer if keyword.startswith("Radio") else dataset, keyword, value)
    return dataset


def test_a_body_that_took_up_all_evenly_has_an_suv_of_one() -> None:
    # half of 200 MBq is left in 80 kg of one gram a millilitre
    activity_bq_ml = 1e8 / 80_000

    assert suv_scale(pet()) == pytest.approx(1 / activity_bq_ml)


def test_images_corrected_to_the_injection_take_the_whole_dose() -> None:
    assert suv_scale(pet(DecayCorrection="ADMIN")) == pytest.approx(80_000 / 2e8)


def test_an_injection_with_its_date_counts_from_it() -> None:
    with_date = pet(RadiopharmaceuticalStartDateTime="20200101100000.00+0100")

    assert suv_scale(with_date) == pytest.approx(suv_scale(pet()))


def test_an_injection_before_midnight_is_of_the_day_before() -> None:
    late = pet(
        RadiopharmaceuticalStartTime="230000", SeriesTime="004946.2", AcquisitionTime="010000", SeriesDate="20200101"
    )

    assert suv_scale(late) == pytest.approx(suv_scale(pet()))


@pytest.mark.parametrize(
    "attributes",
    [
        {"Units": "CNTS"},
        {"CorrectedImage": ["ATTN"]},
        {"DecayCorrection": "NONE"},
        {"PatientWeight": None},
        {"PatientWeight": "0"},
        {"RadionuclideTotalDose": None},
        {"RadiopharmaceuticalStartTime": ""},
        {"RadiopharmaceuticalStartDateTime": "20200102"},
        {"SeriesTime": "120000"},  # rewritten after the acquisition
        {"SeriesTime": ""},
        {"RadiopharmaceuticalInformationSequence": Sequence([])},
    ],
)
def test_a_header_that_lacks_a_fact_gives_no_suv(attributes: dict[str, object]) -> None:
    dataset = pet()
    for keyword, value in attributes.items():
        is_of_tracer = keyword.startswith("Radio") and not keyword.endswith("Sequence")
        setattr(dataset.RadiopharmaceuticalInformationSequence[0] if is_of_tracer else dataset, keyword, value)

    assert suv_scale(dataset) is None


def test_a_unit_that_is_no_code_is_none() -> None:
    dataset = Dataset()
    dataset.add(DataElement("Units", "CS", "Jane Doe", validation_mode=IGNORE))

    assert pet_unit(dataset) == pet_unit(Dataset()) == ""


def test_slices_with_slopes_of_their_own_keep_one_scale(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    activity = np.linspace(0, 30_000, 16).reshape(4, 4)
    slices = []
    for number, slope in enumerate((0.5, 4.0)):
        stored = np.rint(activity / slope).astype(np.uint16)
        file = write_dicom(tmp_path / f"{number}.dcm", stored, Modality="PT", RescaleSlope=slope, RescaleIntercept=0)
        slices.append(read(file)[0].pixels)

    np.testing.assert_allclose(slices[0], slices[1], atol=4)
    assert shared_range([slices[0], np.zeros(16, np.float32)], (0, 100)) == pytest.approx((0, 30_000))


def test_a_large_series_weighs_no_more_than_a_small_one() -> None:
    large, small = np.zeros(2**20, np.float32), np.ones(2**16, np.float32)

    assert shared_range([large, small], (0, 50.1)) == (0, 1)


def test_of_many_series_one_lies_in_memory_at_a_time() -> None:
    who = [pseudonyms(Identity(patient="anyone", series=f"{number}"), b"", seed=0) for number in range(16)]
    images = [
        ImageRecord(each, "PT", (1, 1024, 1024), Geometry(), (1024, 1024), row=row) for row, each in enumerate(who)
    ]
    body = np.linspace(0, 1, 2**20, dtype=np.float32).reshape(1, 1, 1024, 1024)
    pixels = np.broadcast_to(body, (16, 1, 1024, 1024))

    peak = peak_bytes(lambda: _with_shared_range(images, pixels, PreparationConfig()))

    assert peak < 8 * body.nbytes
