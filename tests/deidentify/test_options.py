"""What each option lets stay beyond the basic profile."""

import datetime as dt
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.deidentify.copies import RAMP, WriteDicom, deidentified, item

from rayology.deidentify import ProfileConfig, SafePrivate
from rayology.deidentify.values import cleaned


def test_uids_stay_where_that_is_asked_for(tmp_path: Path, write_dicom: WriteDicom) -> None:
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, SOPInstanceUID="1.2.3"), ProfileConfig(retain_uids=True))

    assert (copy.SOPInstanceUID, copy.StudyInstanceUID) == ("1.2.3", "2.25.1")


def test_shifted_dates_keep_their_distance_and_the_time_of_day(tmp_path: Path, write_dicom: WriteDicom) -> None:
    config = ProfileConfig(dates="shifted")
    dates = {"StudyDate": "20200228", "AcquisitionDateTime": "20200301120000.25+0100", "StudyTime": "115959"}
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, PatientBirthDate="19700101", **dates), config)
    later = deidentified(write_dicom(tmp_path / "b.dcm", RAMP, StudyDate="20210228", StudyInstanceUID="1.9"), config)
    other = deidentified(write_dicom(tmp_path / "c.dcm", RAMP, StudyDate="20200228", PatientID="another"), config)

    study, acquired = (dt.date.fromisoformat(day) for day in (copy.StudyDate, copy.AcquisitionDateTime[:8]))
    assert acquired - study == dt.timedelta(2)
    assert dt.date.fromisoformat(later.StudyDate) - study == dt.timedelta(366)
    assert dt.date(2010, 1, 1) < study < dt.date(2019, 3, 1)
    assert copy.AcquisitionDateTime[8:] == "120000.25+0100"
    assert copy.StudyTime == "115959"
    assert copy.PatientBirthDate == ""
    assert other.StudyDate != copy.StudyDate


def test_attributes_that_the_table_does_not_list_follow_the_options(tmp_path: Path, write_dicom: WriteDicom) -> None:
    unlisted = {"DateOfGainCalibration": "20200228", "SegmentLabel": "Liver of Jane", "TrackingID": "Doe 1"}
    file = write_dicom(tmp_path / "a.dcm", RAMP, StudyDate="20200228", TimezoneOffsetFromUTC="+0100", **unlisted)

    options = deidentified(file, ProfileConfig(dates="shifted", descriptors="cleaned"))
    basic = deidentified(file)

    assert options.DateOfGainCalibration == options.StudyDate
    assert (options.SegmentLabel, options.TrackingID, options.TimezoneOffsetFromUTC) == ("Liver", "REMOVED", "+0100")
    assert (basic.DateOfGainCalibration, basic.SegmentLabel) == ("19000101", "REMOVED")
    assert "TimezoneOffsetFromUTC" not in basic


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_date_that_is_none_is_treated_as_without_the_option(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dates = {"StudyDate": "JANEDOE", "ContentDate": "20200399", "SeriesDate": "2020.03.01"}
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, **dates), ProfileConfig(dates="shifted"))

    assert copy.StudyDate == ""
    assert copy.ContentDate == "19000101"
    assert len(copy.SeriesDate) == 8


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CT HEAD W/O CONTRAST", "CT HEAD W/O CONTRAST"),
        ("ct w/o, Doe", "ct w/o"),
        ("no contrast", "no contrast"),
        ("NON-CONTRAST", "NON CONTRAST"),
        ("T1 w/wo Jane", "T1 w wo"),
        ("L-SPINE 0.625mm", "L-SPINE 0.625mm"),
        ("Law/Owens w/Olsen", "w"),
        ("AX T2 FLAIR FS", "AX T2 FLAIR FS"),
    ],
)
def test_no_description_is_cut_into_its_opposite(text: str, left: str) -> None:
    assert cleaned(text) == left


def test_of_descriptions_only_radiologys_words_are_left(tmp_path: Path, write_dicom: WriteDicom) -> None:
    texts = {"SeriesDescription": "T1 AX post, Doe^Jane 4711", "StudyDescription": "Jane Doe", "ProtocolName": "Doe"}
    file = write_dicom(tmp_path / "a.dcm", RAMP, **texts)

    copy = deidentified(file, ProfileConfig(descriptors="cleaned"))
    more = deidentified(file, ProfileConfig(descriptors="cleaned", words=("jane",)))

    assert copy.SeriesDescription == "T1 AX post"
    assert "StudyDescription" not in copy
    assert copy.ProtocolName == "REMOVED"
    assert more.StudyDescription == "Jane"
    assert "SeriesDescription" not in deidentified(file)


def test_characteristics_of_the_patient_stay_on_request_but_for_great_age(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    known = {"PatientAge": "093Y", "PatientSex": "F", "PatientWeight": 61}
    file = write_dicom(tmp_path / "a.dcm", RAMP, **known)
    young = write_dicom(tmp_path / "b.dcm", RAMP, PatientAge="089Y")
    config = ProfileConfig(retain_patient=True)

    copy, basic = deidentified(file, config), deidentified(file)

    assert (copy.PatientAge, copy.PatientSex, copy.PatientWeight) == ("090Y", "F", 61)
    assert deidentified(young, config).PatientAge == "089Y"
    assert basic.PatientSex == ""
    assert "PatientAge" not in basic
    assert "PatientWeight" not in basic


def test_device_and_institution_stay_on_request(tmp_path: Path, write_dicom: WriteDicom) -> None:
    names = {"DeviceSerialNumber": "4711", "StationName": "CT1", "InstitutionName": "Ward", "Manufacturer": "ACME"}
    file = write_dicom(tmp_path / "a.dcm", RAMP, **names)

    copy, basic = deidentified(file, ProfileConfig(retain_device=True, retain_institution=True)), deidentified(file)

    assert (copy.DeviceSerialNumber, copy.StationName, copy.InstitutionName) == ("4711", "CT1", "Ward")
    assert {basic.DeviceSerialNumber, basic.StationName, basic.InstitutionName} == {"REMOVED"}
    assert basic.Manufacturer == "ACME"


def test_only_listed_private_attributes_of_their_creator_stay(tmp_path: Path, write_dicom: WriteDicom) -> None:
    original = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    for group, creator in ((0x0009, "SAFE"), (0x0009, "OTHER"), (0x0011, "SAFE")):
        block = original.private_block(group, creator, create=True)
        block.add_new(0x01, "DS", "1.5")
        block.add_new(0x02, "LO", "Jane Doe")
    original.private_block(0x0009, "SAFE").add_new(0x03, "SQ", item(PatientName="Doe^Jane", Rows=1))
    original.save_as(tmp_path / "b.dcm")
    safe = tuple(SafePrivate(group="0009", creator="SAFE", element=element) for element in ("01", "03", "04"))

    copy = deidentified(tmp_path / "b.dcm", ProfileConfig(safe_private=safe))

    assert [element.tag for element in copy if element.tag.is_private] == [0x00090010, 0x00091001, 0x00091003]
    assert copy[0x00091003].value[0].PatientName == copy.PatientID
    assert copy[0x00091003].value[0].Rows == 1
