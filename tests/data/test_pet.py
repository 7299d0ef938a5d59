"""PET keeps one range for a whole dataset, in units that mean one thing: SUV if every header gives it."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.data.bodies import WriteDicom, all_rows, body, prepared
from tests.data.peaks import peak_bytes

from rayology.data import PreparationConfig
from rayology.data.curation import _body_sample, _with_shared_range
from rayology.data.dicom.geometry import Geometry
from rayology.data.dicom.pet import suv_scale, units
from rayology.data.identity import Identity, pseudonyms
from rayology.data.records import ImageRecord
from rayology.data.report import report_file
from rayology.errors import SourceError

HALF_LIFE_S = 6586.2  # fluorine-18


def pet(**attributes: object) -> Dataset:
    """Return the header of a series that starts one half-life after the injection of 200 MBq into 80 kg."""
    tracer, dataset = Dataset(), Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "2E8", str(HALF_LIFE_S)
    tracer.RadiopharmaceuticalStartTime = "100000.00"
    dataset.Units, dataset.CorrectedImage, dataset.DecayCorrection = "BQML", ["DECY", "ATTN", "SCAT"], "START"
    dataset.SeriesDate, dataset.SeriesTime = "20200101", "114946.2"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20200101", "114946.199985"
    dataset.PatientWeight = "80"
    dataset.RadiopharmaceuticalInformationSequence = Sequence([tracer])
    for keyword, value in attributes.items():
        is_of_tracer = keyword.startswith("Radio") and not keyword.endswith("Sequence")
        setattr(tracer if is_of_tracer else dataset, keyword, value)
    return dataset


def test_a_body_that_took_up_all_evenly_has_an_suv_of_one() -> None:
    activity_bq_ml = 1e8 / 80_000  # half of 200 MBq is left in 80 kg of one gram a millilitre

    assert suv_scale(pet()) == pytest.approx(1 / activity_bq_ml)


def test_images_corrected_to_the_injection_take_the_whole_dose() -> None:
    assert suv_scale(pet(DecayCorrection="ADMIN")) == pytest.approx(80_000 / 2e8)


@pytest.mark.parametrize(
    "attributes",
    [
        {"RadiopharmaceuticalStartDateTime": "20200101100000.00"},
        {"RadiopharmaceuticalStartDateTime": "20200101090000+0000", "TimezoneOffsetFromUTC": "+0100"},
        {"RadiopharmaceuticalStartDateTime": "20200102003000+1430", "TimezoneOffsetFromUTC": "+0000"},
        {
            "RadiopharmaceuticalStartDateTime": "20191231233000",
            "SeriesTime": "011946.2",
            "AcquisitionTime": "011946.2",
        },
    ],
    ids=["local", "in UTC", "across the date line", "over midnight"],
)
def test_an_injection_with_its_date_counts_from_it_in_the_zone_of_the_series(attributes: dict[str, object]) -> None:
    assert suv_scale(pet(**attributes)) == pytest.approx(suv_scale(pet()))


def test_a_nuclide_of_days_decays_over_days() -> None:
    days = pet(RadionuclideHalfLife="230760", RadiopharmaceuticalStartDateTime="20191229114946.2")

    assert suv_scale(days) == pytest.approx(80_000 / (2e8 * 2 ** (-3 * 86400 / 230760)))


@pytest.mark.parametrize(
    "attributes",
    [
        {"Units": "CNTS"},
        {"SUVType": "LBM"},
        {"CorrectedImage": ["ATTN"]},
        {"DecayCorrection": "NONE"},
        {"PatientWeight": None},
        {"PatientWeight": "0"},
        {"PatientWeight": "0.08"},
        {"PatientWeight": "8000"},
        {"PatientWeight": "80000"},  # in grams
        {"RadionuclideTotalDose": "2E12"},
        {"RadionuclideTotalDose": None},
        {"RadionuclideTotalDose": "200"},  # in MBq
        {"RadionuclideHalfLife": "0"},
        {"RadionuclideHalfLife": "230760"},  # of which any day's injection may be left
        {"RadiopharmaceuticalStartTime": ""},
        {"RadiopharmaceuticalStartTime": "114951"},  # after the start
        {"RadiopharmaceuticalStartTime": "10"},
        {"RadiopharmaceuticalStartDateTime": "20200101"},
        {"RadiopharmaceuticalStartDateTime": "20200102100000"},
        {"RadiopharmaceuticalStartDateTime": "20190101100000"},  # nothing would be left
        {"RadiopharmaceuticalStartDateTime": "20200101090000+0000"},  # and no zone of the series
        {"SeriesTime": "120000"},  # rewritten after the acquisition
        {"SeriesDate": "20190101"},  # rewritten by de-identification
        {"SeriesTime": ""},
        {"RadiopharmaceuticalInformationSequence": Sequence([])},
    ],
)
def test_a_header_that_lacks_a_fact_or_contradicts_itself_gives_no_suv(attributes: dict[str, object]) -> None:
    assert suv_scale(pet(**attributes)) is None


def test_units_are_a_code_and_a_type_of_suv() -> None:
    assert units(pet(Units="GML")) == units(pet(Units="GML", SUVType="BW")) == "GML"
    assert units(pet(Units="GML", SUVType="LBM")) == "GML_LBM"
    assert units(Dataset()) == ""


def write_pet(write_dicom: WriteDicom, folder: Path, first: int, **attributes: object) -> None:
    """Write two slices of each of four patients, whose bodies took up the same."""
    for number in range(8):
        patient, weight = first + number // 2, (50.0, 200.0)[number // 2 % 2]
        header = pet(PatientWeight=weight)
        described = {element.keyword: element.value for element in header} | {"Modality": "PT"} | attributes
        taken_up = (body(patient) + 1000).astype(np.uint16)
        taken_up[16:20, 16:20] = 1900
        write_dicom(
            folder / f"{patient}-{number}.dcm",
            taken_up,
            PatientID=f"p{patient}",
            StudyInstanceUID=f"2.25.{10 + patient}",
            SeriesInstanceUID=f"2.25.{100 + patient}",
            RescaleSlope=attributes.get("RescaleSlope", 1000 / weight),
            **{keyword: value for keyword, value in described.items() if keyword != "RescaleSlope"},
        )


def test_equal_uptake_of_a_light_and_a_heavy_body_is_one_value_in_suv(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_pet(write_dicom, tmp_path / "files", 0)

    dataset = prepared(tmp_path / "files")
    activity = prepared(tmp_path / "files", units="BQML")

    kept, levels = dataset.info.image.values, dataset.split("train").stored(np.arange(len(dataset.split("train"))))
    assert kept.unit == "g/ml (SUV by body weight)"
    assert {(row["scale_low"], row["scale_high"]) for row in all_rows(dataset)} == {(kept.low, kept.high)}
    assert len(np.unique(levels[:, 0, 9, 9])) == 1
    assert kept.low + kept.step * levels[0, 0, 9, 9] == pytest.approx(1900 * 1e6 / 1e8, rel=0.01)
    assert activity.info.image.values.unit == "Bq/ml"
    assert "PET in Bq/ml, not in SUV by body weight" in activity.info.note
    assert "g/ml (SUV by body weight)" in report_file(dataset).read_text(encoding="utf-8")
    assert dataset.info.found["units"] == {"g/ml (SUV by body weight)": 8}


def test_pet_in_several_units_is_refused_until_one_is_chosen(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_pet(write_dicom, tmp_path / "files", 0)
    write_pet(write_dicom, tmp_path / "files", 50, Units="CNTS")

    with pytest.raises(SourceError, match=r"PET in several units \(GML 8, CNTS 8\); set preparation.units"):
        prepared(tmp_path / "files")
    counts = prepared(tmp_path / "files", units="CNTS").info

    assert (counts.counts.images, counts.image.values.unit) == (8, "counts")
    assert counts.reasons == {"NotSelected: its units are not CNTS (preparation.units)": 8}


def test_a_series_in_which_some_slices_lack_a_fact_is_not_converted_in_part(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    write_pet(write_dicom, tmp_path / "files", 0)
    write_dicom(tmp_path / "files" / "poor.dcm", body(0), Modality="PT", Units="BQML")

    with pytest.raises(SourceError, match=r"GML 8, BQML 1\); .* BQML keeps what would become SUV"):
        prepared(tmp_path / "files")

    assert prepared(tmp_path / "files", units="BQML").info.counts.images == 9


def test_a_large_series_weighs_about_as_much_as_a_small_one() -> None:
    large, small = (np.linspace(0, 1, length, dtype=np.float32) for length in (2**22, 2**16))

    assert len(_body_sample(large)) <= 1.5 * len(_body_sample(small))


def test_of_many_series_one_lies_in_memory_at_a_time() -> None:
    who = [pseudonyms(Identity(patient="anyone", series=f"{number}"), b"", seed=0) for number in range(16)]
    images = [
        ImageRecord(each, "PT", (1, 1024, 1024), Geometry(), (1024, 1024), row=row) for row, each in enumerate(who)
    ]
    body = np.linspace(0, 1, 2**20, dtype=np.float32).reshape(1, 1, 1024, 1024)
    pixels = np.broadcast_to(body, (16, 1, 1024, 1024))

    peak = peak_bytes(lambda: _with_shared_range(images, pixels, PreparationConfig()))

    assert peak < 8 * body.nbytes
