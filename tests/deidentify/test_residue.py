"""The last look at what was written finds what should not be there, and little else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from rayology.deidentify import ProfileConfig
from rayology.deidentify.files import Content, content
from rayology.deidentify.residue import CHUNK, Search, identifiers
from rayology.deidentify.treatment import RESIDUE, treat

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)


def finds(value: str, texts: bytes = b"", pixels: bytes = b"") -> bool:
    return Search([value]).finds(Content(Dataset(), texts + pixels, len(texts)))


@pytest.mark.parametrize("before", [0, 1, CHUNK - 5, CHUNK - 1, CHUNK, 3 * CHUNK])
def test_a_value_is_found_wherever_it_stands_and_in_any_case(before: int) -> None:
    assert finds("Doe^Jane", b"." * before + b"DOE^jane..")
    assert finds("Doe^Jane", pixels=b"." * before + b"DOE^jane..")


@pytest.mark.parametrize(
    ("value", "texts", "found"),
    [
        ("Smith", b"by smith, today", True),
        ("Smith", b"blacksmiths", False),
        ("Smith", b"AB\x05\0smith\x30\0\x10\0", True),  # the tag of the next element begins with a digit
        ("471100", b"no. 471100", True),
        ("471100", b"0.8471100", False),
        ("20200101", b"DT\x0e\x0020200101120000", True),
        ("20200101", b"2.25.9920200101", False),
        ("1.2.3.4.5.6", b"x1.2.3.4.5.6", True),
        ("Müller", "DR. MüLLER".encode("latin-1"), True),
        ("Müller", "Dr. Müller".encode(), True),
        ("山田太郎", "山田太郎".encode("iso2022_jp"), True),
    ],
)
def test_short_words_and_numbers_are_found_alone(value: str, texts: bytes, *, found: bool) -> None:
    assert finds(value, texts) is found


def test_among_pixels_only_long_values_are_no_chance() -> None:
    assert not finds("Smith", pixels=b" smith ")
    assert finds("Smithson", pixels=b" smithson ")


def test_what_identifies_is_collected_from_the_whole_tree(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane", AccessionNumber="A-4711"))
    item = Dataset()
    item.PatientBirthName, item.StudyDate, item.StationName, item.SeriesDescription = "Roe", "20200101", "CT12", "Head"
    dataset.ReferencedSeriesSequence = [item]

    found = identifiers(dataset, ProfileConfig().build())

    assert {"Doe^Jane", "A-4711", dataset.SOPInstanceUID} <= found.whole
    assert {"Jane", "20200101"} <= found.parts
    assert not {"Doe", "Roe", "CT12", "Head", "1.2.840.10008.5.1.4.1.1.2"} & (found.whole | found.parts)
    assert "Jane" not in repr(found)


def test_what_an_option_keeps_is_not_searched_for(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dates = {"StudyDate": "20200101", "DateOfLastCalibration": "20200101"}
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP, **dates))

    assert "20200101" in identifiers(dataset, ProfileConfig().build()).parts
    assert "20200101" not in identifiers(dataset, ProfileConfig(retain_device=True).build()).parts


def test_a_file_whose_name_would_stay_in_a_kept_attribute_is_held_back(tmp_path: Path, write_dicom: WriteDicom) -> None:
    profile = ProfileConfig().build()
    leaking = write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane", BodyPartExamined="JANE LEG")
    other = write_dicom(tmp_path / "b.dcm", RAMP, PatientName="Doe^John", BodyPartExamined="JANE LEG")

    assert treat(leaking, profile, b"key").outcome.reason == RESIDUE
    assert treat(other, profile, b"key").outcome.reason == ""


def test_pixels_are_told_from_texts_also_in_a_deflated_file(tmp_path: Path, write_dicom: WriteDicom) -> None:
    pixels = RAMP.tobytes()
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2"):
        held = content(write_dicom(tmp_path / "a.dcm", RAMP, PatientID="someone", TransferSyntaxUID=syntax))

        assert held.plain[held.pixels_at :] == pixels
        assert b"someone" in held.plain
