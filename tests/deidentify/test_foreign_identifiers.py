"""Whatever identifies a patient is looked for in the files of all others, and ordinary words are not."""

import json
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.deidentify.folders import RAMP, WriteDicom, copies, everything_below, run

from rayology.deidentify import ProfileConfig, Rule, SafePrivate
from rayology.deidentify.folder import FOREIGN

WORDS = {"ImageType": ["ORIGINAL", "PRIMARY", "TRACEW"], "Manufacturer": "Acme", "BodyPartExamined": "CHEST"}
"""What scanners write into the four files."""
TEST_OBJECT = {"PatientName": "Muster^Test", "PatientID": "QA-7712", "SOPInstanceUID": "1.2.3.8"}


def words_of_scanners(source: Path) -> None:
    for file in source.rglob("?.dcm"):
        dataset = dcmread(file)
        for keyword, value in WORDS.items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)


def test_what_identifies_another_files_patient_is_taken_out_again(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(source / "mixed.dcm", RAMP, SOPInstanceUID="1.2.3.8", Manufacturer="as for JD-4711")

    report = run(tmp_path)

    assert report.held_back[FOREIGN] == 1
    assert report.written == len(copies(tmp_path)) == 3
    assert b"JD-4711" not in everything_below(tmp_path / "output")


@pytest.mark.parametrize("word", ["PRIMARY", "chest", "ACME", "Tracew", "CT", "Li", "0", "2020"])
def test_an_ordinary_word_in_an_identifying_attribute_holds_back_no_other_file(
    tmp_path: Path, source: Path, write_dicom: WriteDicom, word: str
) -> None:
    words_of_scanners(source)
    write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT, OperatorsName=word)

    assert run(tmp_path).written == 4


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("Philips", {"Manufacturer": "Philips Medical Systems"}),
        ("Siemens", {"Manufacturer": "SIEMENS Healthineers"}),
        ("Somatom", {"ManufacturerModelName": "SOMATOM Force"}),
        ("Biograph64", {"ManufacturerModelName": "Biograph64"}),
        ("Biograph 64", {"ManufacturerModelName": "Biograph 64-4R"}),
        ("Teledyne", {"DetectorManufacturerName": "Teledyne DALSA"}),
        ("EMISSION", {"CountsSource": "EMISSION"}),
        ("FIXED", {"TableType": "FIXED"}),
        ("Presentation", {"PresentationIntentType": "FOR PRESENTATION"}),
        ("HELIX", {"ScanOptions": ["HELIX", "HELICAL MODE"]}),
        ("FILTER", {"FilterType": "FILTER"}),
        ("BODY FILTER", {"FilterType": "BODY FILTER"}),
        ("Uniform", {"ApplicableSafetyStandardAgency": "IEC", "CollimatorType": "UNIFORM"}),
        ("SOM5", {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]}),
        ("DIS2D", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "DIS2D"]}),
    ],
)
def test_a_word_of_makers_models_and_defined_terms_holds_back_no_other_file(
    tmp_path: Path, write_dicom: WriteDicom, word: str, written: dict[str, object]
) -> None:
    for number in range(3):
        write_dicom(tmp_path / "source" / f"{number}.dcm", RAMP, SOPInstanceUID=f"1.2.4.{number}", **written)
    write_dicom(tmp_path / "source" / "qa.dcm", RAMP, **TEST_OBJECT | {"PatientID": word}, OperatorsName=word)

    assert run(tmp_path).written == 4


@pytest.mark.parametrize(
    "written",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "SMITH"]},
        {"Manufacturer": "Smith", "ImageType": ["ORIGINAL", "PRIMARY", "SMITH"]},
        {"ManufacturerModelName": "Smith Nephew", "SoftwareVersions": "by Smith"},
        {"ManufacturerModelName": "Smith2024", "SoftwareVersions": "by Smith"},
    ],
)
def test_a_name_is_found_in_every_place_but_that_of_the_maker(
    tmp_path: Path, write_dicom: WriteDicom, written: dict[str, object]
) -> None:
    write_dicom(tmp_path / "source" / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", **written)
    write_dicom(tmp_path / "source" / "b.dcm", RAMP, SOPInstanceUID="1.2.4.2", PatientName="Smith")

    report = run(tmp_path)

    assert (report.written, report.held_back) == (1, {FOREIGN: 1})


def test_a_private_creator_that_the_config_names_holds_back_no_file(tmp_path: Path, write_dicom: WriteDicom) -> None:
    safe = SafePrivate(group="7053", creator="Philips PET Private Group", element="00")
    dataset = dcmread(write_dicom(tmp_path / "source" / "a.dcm", RAMP, **TEST_OBJECT, OperatorsName="Philips"))
    dataset.private_block(0x7053, safe.creator, create=True).add_new(0x00, "DS", "1.5")
    dataset.save_as(tmp_path / "source" / "a.dcm")

    assert run(tmp_path, ProfileConfig(safe_private=(safe,))).written == 1
    assert safe.creator.encode() in everything_below(tmp_path / "output")


def test_a_name_of_ones_own_is_found_also_where_the_maker_stands(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_dicom(tmp_path / "source" / "a.dcm", RAMP, PatientName="Smith", Manufacturer="for Smith")

    assert run(tmp_path).written == 0


def test_an_identifier_is_found_where_a_code_belongs_and_the_private_list_says_whose_it_is(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT | {"PatientID": "MUELLER"})
    for name in ("a", "b"):
        write_dicom(source / f"{name}.dcm", RAMP, SOPInstanceUID=f"1.2.4.{ord(name)}", BodyPartExamined="MUELLER")

    report = run(tmp_path)

    assert report.held_back[FOREIGN] == 2
    (listed,) = (tmp_path / "private").glob("held-back-*.json")
    held = {entry["file"]: entry for entry in json.loads(listed.read_text())}
    assert held["b.dcm"] == {"file": "b.dcm", "reason": FOREIGN, "files_with": {"PatientID of qa.dcm": 2}}
    assert b"qa.dcm" not in everything_below(tmp_path / "output")


def test_once_the_file_that_held_back_others_is_gone_they_are_written(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(source / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", BodyPartExamined="MUELLER")
    held_by = write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT | {"PatientID": "MUELLER"})
    before = run(tmp_path)
    held_by.unlink()

    assert (before.held_back[FOREIGN], before.written, run(tmp_path).written) == (1, 4, 4)


def test_a_rule_allows_a_value_of_the_files_that_fit_and_parts_of_it(
    tmp_path: Path, source: Path, write_dicom: WriteDicom
) -> None:
    words_of_scanners(source)
    write_dicom(source / "qa.dcm", RAMP, **TEST_OBJECT, OperatorsName="Tracew^Acme", **WORDS)
    write_dicom(source / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", ProtocolName="x", ConvolutionKernel="Tracew^Acme")
    rule = Rule(reason="a test object", when={"OperatorsName": "tracew.*"}, action="allow")

    report = run(tmp_path, ProfileConfig(rules=(rule,)))

    assert (report.written, report.held_back) == (5, {"burned-in annotation": 1})


def test_a_rule_allows_each_of_several_values(tmp_path: Path, write_dicom: WriteDicom) -> None:
    names = ["Acme Cal", "Quality^Rig"]
    write_dicom(tmp_path / "source" / "qa.dcm", RAMP, **TEST_OBJECT, OperatorsName=names)
    write_dicom(tmp_path / "source" / "a.dcm", RAMP, SOPInstanceUID="1.2.4.1", SoftwareVersions=["acme cal", "Rig^9"])
    rule = Rule(reason="a test object", when={"OperatorsName": "acme.*"}, action="allow")

    assert run(tmp_path).written == 1
    shutil.rmtree(tmp_path / "output")
    assert run(tmp_path, ProfileConfig(rules=(rule,))).written == 2
