"""What a de-identified data set still says: who is whom, what is how far apart, and every pixel."""

import datetime as dt
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import keyword_for_tag
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from rayology.data.confidentiality import Deidentified, ProfileConfig, SafePrivate, deidentify, encoded
from rayology.data.confidentiality.comments import without_comments
from rayology.data.confidentiality.files import content
from rayology.data.confidentiality.generate import compact
from rayology.data.confidentiality.profile import TABLE, Action
from rayology.errors import DataError

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)
KEY = b"key"


def deidentified(file: Path, config: ProfileConfig | None = None, key: bytes = KEY) -> Dataset:
    """Return what a file's de-identified copy holds when it is read again."""
    result = deidentify(content(file).dataset, (config or ProfileConfig()).build(), key)
    return content(encoded(result.dataset)).dataset


def item(**attributes: object) -> Sequence:
    """Return a sequence of one item."""
    held = Dataset()
    for keyword, value in attributes.items():
        setattr(held, keyword, value)
    return Sequence([held])


def test_the_table_is_the_standards(shared_data: Path) -> None:
    rows = json.loads((shared_data / "standards" / "ps3.15_table_E.1-1.json").read_text())

    assert TABLE.read_text() == compact(rows)


def test_the_table_is_written_anew_by_one_command(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package's own table must stay as it is.
    monkeypatch.setattr("rayology.data.confidentiality.profile.TABLE", tmp_path / "profile.tsv")
    monkeypatch.setattr("sys.argv", ["generate", str(shared_data / "standards" / "ps3.15_table_E.1-1.json")])
    monkeypatch.delitem(sys.modules, "rayology.data.confidentiality.generate")

    runpy.run_module("rayology.data.confidentiality.generate", run_name="__main__")

    assert (tmp_path / "profile.tsv").read_text() == TABLE.read_text()


def test_the_same_key_gives_the_same_bytes_and_another_one_other_names(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = content(write_dicom(tmp_path / "a.dcm", RAMP)).dataset
    profile = ProfileConfig().build()

    one, same, other = (deidentify(dataset, profile, key).dataset for key in (KEY, KEY, b"other"))

    assert encoded(one) == encoded(same)
    assert one.PatientID != other.PatientID
    assert one.StudyInstanceUID != other.StudyInstanceUID


def test_the_original_is_left_as_it_was(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane", RequestAttributesSequence=item(StudyID="1"))
    dataset = dcmread(file)
    before = dataset.to_json()

    deidentify(dataset, ProfileConfig(dates="shifted").build(), KEY)

    assert dataset.to_json() == before


def test_what_was_done_is_counted_by_action_and_keyword(tmp_path: Path, write_dicom: WriteDicom) -> None:
    nested = item(PatientBirthDate="19700101", PatientComments="any")
    file = write_dicom(tmp_path / "a.dcm", RAMP, PatientComments="any", ReferencedSeriesSequence=nested)

    done = deidentify(content(file).dataset, ProfileConfig().build(), KEY).done

    assert done[Action.REMOVE, "PatientComments"] == 2
    assert done[Action.EMPTY, "PatientBirthDate"] == 1
    assert done[Action.REPLACE, "PatientID"] == 1
    assert done[Action.MAP, "SOPInstanceUID"] == 1


def test_what_was_done_stands_in_the_file(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP)
    every = ProfileConfig(
        dates="shifted",
        descriptors="cleaned",
        retain_uids=True,
        retain_device=True,
        retain_institution=True,
        retain_patient=True,
        safe_private=(SafePrivate(group="0009", creator="ANYONE", element="01"),),
    )

    basic, whole = deidentified(file), deidentified(file, every)

    assert basic.PatientIdentityRemoved == whole.PatientIdentityRemoved == "YES"
    assert basic.LongitudinalTemporalInformationModified == "REMOVED"
    assert whole.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [method.CodeValue for method in basic.DeidentificationMethodCodeSequence] == ["113100"]
    declared = {method.CodeValue: method.CodeMeaning for method in whole.DeidentificationMethodCodeSequence}
    assert declared == {
        code.value: code.meaning
        for code in codes.cid7050.concepts.values()
        if code.value not in {"113101", "113102", "113103", "113104", "113106"}
    }


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_the_syntax_and_every_pixel_stay(tmp_path: Path, write_dicom: WriteDicom, syntax: str) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=syntax)

    copy = deidentified(file)

    assert copy.file_meta.TransferSyntaxUID == syntax
    assert copy.PixelData == dcmread(file).PixelData


def test_compressed_pixels_stay_byte_for_byte(tmp_path: Path, write_dicom: WriteDicom) -> None:
    original = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    original.compress(RLELossless)
    original.save_as(tmp_path / "rle.dcm")

    copy = deidentified(tmp_path / "rle.dcm")

    assert copy.file_meta.TransferSyntaxUID == RLELossless
    assert copy.PixelData == original.PixelData
    np.testing.assert_array_equal(copy.pixel_array, RAMP)


def test_comments_of_a_codestream_go_and_its_pixels_stay(tmp_path: Path) -> None:
    original = dcmread(str(get_testdata_file("SC_rgb_jpeg_lossy_gdcm.dcm", download=False)))
    (frame,) = generate_frames(original.PixelData, number_of_frames=1)
    comments = b"".join(
        marker + (2 + len(text)).to_bytes(2, "big") + text
        for marker, text in ((b"\xff\xfe", b"Jane Doe's scan"), (b"\xff\xe1", b"Exif\0\0 by Jane"))
    )
    original.PixelData = encapsulate([frame[:2] + comments + frame[2:]])
    original.save_as(tmp_path / "a.dcm")

    copy = deidentified(tmp_path / "a.dcm")

    assert b"Jane" not in copy.PixelData
    assert len(copy.PixelData) == len(original.PixelData)
    np.testing.assert_array_equal(copy.pixel_array, original.pixel_array)


@pytest.mark.slow
def test_the_pixels_of_every_file_of_the_zoo_stay(shared_data: Path) -> None:
    compared = changed = 0
    for file in sorted((shared_data / "dicom_zoo").rglob("*")):
        try:
            original = content(file).dataset if file.is_file() else Dataset()
            copy = deidentified(file).get("PixelData")
        except (DataError, AttributeError, OSError, ValueError):
            continue
        if copy is not None and original.file_meta.TransferSyntaxUID.is_encapsulated:
            changed += copy != original.PixelData
        elif copy is not None:
            assert original.PixelData.startswith(copy.removesuffix(b"\0")), file.name
        compared += copy is not None

    assert compared > 180
    assert changed == 2  # a comment that names an archive, and a vendor's boxes in a JP2 file


@pytest.mark.parametrize(
    ("comment", "stays"),
    [(b"\0\1Kakadu-v7.3.3", True), (b"\0\1Created by OpenJPEG version 2.5.2", True), (b"\0\1Kakadu of Jane", False)],
)
def test_an_encoder_may_name_itself_in_jpeg_2000(comment: bytes, *, stays: bool) -> None:
    segment = b"\xff\x64" + (2 + len(comment)).to_bytes(2, "big") + comment
    pixels = encapsulate([b"\xff\x4f" + segment + b"\xff\x90" + comment])

    cleaned = without_comments(pixels)

    assert (cleaned == pixels) is stays
    assert cleaned.count(comment) == 1 + stays


def test_a_uid_is_mapped_to_the_same_wherever_it_stands(tmp_path: Path, write_dicom: WriteDicom) -> None:
    first = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, SOPInstanceUID="1.2.3"))
    reference = item(ReferencedSOPInstanceUID="1.2.3", ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    second = deidentified(write_dicom(tmp_path / "b.dcm", RAMP, SourceImageSequence=reference))

    assert second.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert second.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    assert (second.StudyInstanceUID, second.SeriesInstanceUID) == (first.StudyInstanceUID, first.SeriesInstanceUID)
    assert first.SOPInstanceUID.startswith("2.25.")
    assert len(first.SOPInstanceUID) <= 64


def test_uids_stay_where_that_is_asked_for(tmp_path: Path, write_dicom: WriteDicom) -> None:
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, SOPInstanceUID="1.2.3"), ProfileConfig(retain_uids=True))

    assert (copy.SOPInstanceUID, copy.StudyInstanceUID) == ("1.2.3", "2.25.1")


def test_files_of_one_patient_have_one_pseudonym(tmp_path: Path, write_dicom: WriteDicom) -> None:
    one = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane"))
    same = deidentified(write_dicom(tmp_path / "b.dcm", RAMP, PatientName="Doe^J", StudyInstanceUID="2.25.9"))
    other = deidentified(write_dicom(tmp_path / "c.dcm", RAMP, PatientID="another", PatientName="Doe^Jane"))

    assert one.PatientID == one.PatientName == same.PatientID != other.PatientID


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


def test_an_emptied_and_a_hollow_sequence_say_nothing(tmp_path: Path, write_dicom: WriteDicom) -> None:
    graphic = item(UnformattedTextValue="Jane Doe", GraphicLayer="LAYER", AnchorPoint=[1.5, 2.5])
    sequences = {"IssuerOfTheContainerIdentifierSequence": graphic, "GraphicAnnotationSequence": [*graphic, *graphic]}

    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, **sequences))

    assert len(copy.IssuerOfTheContainerIdentifierSequence) == 0
    (hollow,) = copy.GraphicAnnotationSequence
    assert (hollow.UnformattedTextValue, hollow.GraphicLayer, hollow.AnchorPoint) == ("REMOVED", "LAYER", [0, 0])


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_date_that_is_none_is_treated_as_without_the_option(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dates = {"StudyDate": "JANEDOE", "ContentDate": "20200399", "SeriesDate": "2020.03.01"}
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, **dates), ProfileConfig(dates="shifted"))

    assert copy.StudyDate == ""
    assert copy.ContentDate == "19000101"
    assert len(copy.SeriesDate) == 8


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


def test_public_codes_keep_their_published_meaning_and_local_ones_go(tmp_path: Path, write_dicom: WriteDicom) -> None:
    public = {"CodeValue": "69536005", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Jane's head"}
    local = {"CodeValue": "DOE", "CodingSchemeDesignator": "99WARD", "CodeMeaning": "Jane Doe"}
    sequences = {"AnatomicRegionSequence": item(**public), "ProcedureCodeSequence": item(**local)}

    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, **sequences))

    published = "Head structure (body structure)"
    (region,), (procedure,) = copy.AnatomicRegionSequence, copy.ProcedureCodeSequence
    assert (region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning) == ("69536005", "SCT", published)
    assert {procedure.CodeValue, procedure.CodeMeaning} == {"REMOVED"}
    assert procedure.CodingSchemeDesignator == "99REMOVED"


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


def test_empty_values_stay_empty(tmp_path: Path, write_dicom: WriteDicom) -> None:
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, PatientID="", ContentDate="", ProtocolName=""))

    assert [copy.PatientID, copy.ContentDate, copy.ProtocolName] == ["", "", ""]


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_of_several_codes_only_those_go_that_are_none(tmp_path: Path, write_dicom: WriteDicom) -> None:
    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, ImageType=["ORIGINAL", "Jane Doe", "AXIAL"]))

    assert list(copy.ImageType) == ["ORIGINAL", "REMOVED", "AXIAL"]


@pytest.mark.parametrize("form", range(2))
def test_a_data_set_that_was_never_a_file_is_treated_alike(tmp_path: Path, write_dicom: WriteDicom, form: int) -> None:
    original = dcmread(write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane"))
    made = Dataset()
    made.file_meta = original.file_meta
    for element in original:
        made[element.tag] = element

    result: Deidentified = deidentify((original, made)[form], ProfileConfig().build(), KEY)

    assert b"Doe" not in encoded(result.dataset)
    np.testing.assert_array_equal(content(encoded(result.dataset)).dataset.pixel_array, RAMP)


def test_every_kept_keyword_is_an_attribute_that_the_table_does_not_list() -> None:
    listed = {line.split("\t")[0] for line in TABLE.read_text().splitlines()}
    names = {keyword_for_tag(int(tag, 16)) for tag in listed if not set("GX") & set(tag)}

    assert not names & set(TABLE.with_name("kept.txt").read_text().split())


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8)])
def test_text_in_any_segment_of_a_jpeg_and_behind_its_end_goes(image: NDArray[np.uint8]) -> None:
    frame = bytes(imagecodecs.jpeg8_encode(image))
    segments = b"".join(b"\xff" + bytes([0xE0 + number]) + b"\x00\x0eSmith^Janeth" for number in range(16))
    pixels = encapsulate([frame[:2] + segments + frame[2:] + b"Jones^Mary"])

    cleaned = without_comments(pixels)

    assert len(cleaned) == len(pixels)
    assert b"Smith" not in cleaned
    assert b"Jones" not in cleaned
    (kept,) = generate_frames(cleaned, number_of_frames=1)
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(kept), imagecodecs.jpeg8_decode(frame))


def test_text_in_the_boxes_of_a_jp2_file_goes_and_its_pixels_stay() -> None:
    image = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    frame = bytes(imagecodecs.jpeg2k_encode(image, codecformat="jp2", reversible=True))
    box = (8 + 12).to_bytes(4, "big") + b"xml Smith^Janeth"
    pixels = encapsulate([frame[:12] + box + frame[12:]])

    cleaned = without_comments(pixels)

    assert b"Smith" not in cleaned
    (kept,) = generate_frames(cleaned, number_of_frames=1)
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(kept[kept.index(b"\xff\x4f\xff\x51") :]), image)


def test_what_is_no_codestream_is_left_alone() -> None:
    pixels = encapsulate([bytes(range(64)) + b"\xff\xd9" + bytes(range(64))])

    assert without_comments(pixels) == pixels
