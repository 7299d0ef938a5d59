"""What a de-identified data set still says: who is whom, what is how far apart, and every pixel."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from tests.deidentify.copies import KEY, RAMP, WriteDicom, deidentified, item

from rayology.deidentify import Deidentified, ProfileConfig, SafePrivate, deidentify, encoded
from rayology.deidentify.files import content
from rayology.deidentify.profile import Action


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

    assert done[Action.REMOVE]["PatientComments"] == 2
    assert done[Action.EMPTY]["PatientBirthDate"] == 1
    assert done[Action.REPLACE]["PatientID"] == 1
    assert done[Action.MAP]["SOPInstanceUID"] == 1


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


def test_the_standard_s_own_uids_are_not_counted_as_mapped(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = content(write_dicom(tmp_path / "a.dcm", RAMP)).dataset

    done = deidentify(dataset, ProfileConfig().build(), KEY).done

    assert done[Action.MAP]["SOPInstanceUID"] == 1
    assert "SOPClassUID" not in done[Action.MAP]


def test_files_of_one_patient_have_one_pseudonym(tmp_path: Path, write_dicom: WriteDicom) -> None:
    one = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, PatientName="Doe^Jane"))
    same = deidentified(write_dicom(tmp_path / "b.dcm", RAMP, PatientName="Doe^J", StudyInstanceUID="2.25.9"))
    other = deidentified(write_dicom(tmp_path / "c.dcm", RAMP, PatientID="another", PatientName="Doe^Jane"))

    assert one.PatientID == one.PatientName == same.PatientID != other.PatientID


def test_an_emptied_and_a_hollow_sequence_say_nothing(tmp_path: Path, write_dicom: WriteDicom) -> None:
    graphic = item(UnformattedTextValue="Jane Doe", GraphicLayer="LAYER", AnchorPoint=[1.5, 2.5])
    sequences = {"IssuerOfTheContainerIdentifierSequence": graphic, "GraphicAnnotationSequence": [*graphic, *graphic]}

    copy = deidentified(write_dicom(tmp_path / "a.dcm", RAMP, **sequences))

    assert len(copy.IssuerOfTheContainerIdentifierSequence) == 0
    (hollow,) = copy.GraphicAnnotationSequence
    assert (hollow.UnformattedTextValue, hollow.GraphicLayer, hollow.AnchorPoint) == ("REMOVED", "LAYER", [0, 0])


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
