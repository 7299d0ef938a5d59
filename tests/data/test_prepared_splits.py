"""Who is in which split of a dataset, and what is said where patients are few or not named."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid
from tests.data.bodies import SMALL, WriteDicom, all_rows, body, prepared

from rayology.data import FolderConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.splits import SPLITS


def test_no_patient_is_in_two_splits(folder: Path) -> None:
    rows = all_rows(prepared(folder))

    assert {row["split"] for row in rows} == set(SPLITS)
    assert len({(row["patient"], row["split"]) for row in rows}) == 6


def test_one_patient_is_cut_into_blocks_and_marked(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number in range(40):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 2 * number]}
        write_dicom(tmp_path / "images" / f"{number}.dcm", body(number), SOPInstanceUID=generate_uid(), **place)

    info = prepared(tmp_path / "images").info

    assert (info.patients, info.patient_safe, info.note) == (1, False, "one patient")
    assert info.counts.dropped_in_gaps == 40 - info.counts.images > 0


@pytest.mark.parametrize("named", [True, False])
def test_of_two_scans_of_one_patient_one_is_cut_and_the_other_dropped(
    tmp_path: Path, write_dicom: WriteDicom, *, named: bool
) -> None:
    for scan, number in itertools.product(range(2), range(40)):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 2 * number + 35 * scan]}
        uids = {"SeriesInstanceUID": f"2.25.{scan}", "FrameOfReferenceUID": f"2.25.7{scan}" if named else None}
        write_dicom(tmp_path / "images" / f"{scan}-{number}.dcm", body(number), **place, **uids)

    dataset = prepared(tmp_path / "images")

    assert len({row["series"] for row in all_rows(dataset)}) == 1
    assert dataset.info.counts.dropped_in_gaps == 80 - dataset.info.counts.images > 40


@pytest.mark.slow
def test_no_slice_of_the_brain_lies_within_5_mm_of_another_split(brain_folder: Path, tmp_path: Path) -> None:
    dataset = prepare(FolderConfig(path=brain_folder), PreparationConfig(), tmp_path)

    positions = {name: np.asarray(dataset.split(name).index["position_mm"]) for name in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        assert np.abs(positions[one][:, None] - positions[other]).min() >= 4.99
    assert dataset.info.note == "one patient"
    assert dataset.info.counts.images > 300
    assert dataset.info.clipped_share < 0.02
    # Background, fluid and tissue are all there.
    levels = dataset.split("train").stored(np.arange(len(positions["train"]))) / 4095
    assert np.percentile(levels, 50) == 0 < np.percentile(levels, 80) < 0.2 < np.percentile(levels, 90) < 0.5


def test_the_surroundings_of_a_ct_make_no_patients_alike(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for patient in range(4):
        pixels = body(patient)
        pixels[:4] = pixels[-4:] = pixels[:, :4] = pixels[:, -4:] = -32000
        write_dicom(tmp_path / "images" / f"{patient}.dcm", pixels, PatientID=str(patient))

    assert prepared(tmp_path / "images").info.patient_safe


def test_patients_who_are_cut_into_blocks_are_not_called_safe(tmp_path: Path, write_dicom: WriteDicom) -> None:
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    for patient, slices in (("A", 1), ("B", 1), ("C", 40)):
        for number in range(slices):
            write_dicom(
                tmp_path / "files" / f"{patient}{number}.dcm",
                body(0 if patient in "AB" else 100 + number),
                PatientID=patient,
                StudyInstanceUID=f"2.25.{ord(patient)}",
                SeriesInstanceUID=f"2.25.{ord(patient)}1",
                ImagePositionPatient=[0, 0, 3.0 * number],
                **place,
            )

    info = prepare(FolderConfig(path=tmp_path / "files"), SMALL, tmp_path / "root").info

    assert not info.patient_safe
    assert info.note


def test_patients_who_share_an_image_are_counted_as_joined(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number in range(12):
        image = np.random.default_rng(number % 11).integers(0, 1000, (32, 32)).astype(np.int16)
        uids = {"StudyInstanceUID": f"2.25.{number + 1}", "SeriesInstanceUID": f"2.25.{number + 101}"}
        write_dicom(tmp_path / "images" / f"{number}.dcm", image, PatientID=f"p{number}", Modality="MR", **uids)

    info = prepare(FolderConfig(path=tmp_path / "images"), PreparationConfig(size=32), tmp_path / "root").info

    assert (info.counts.images, info.patients, info.counts.joined_patients) == (12, 12, 1)


def test_an_image_that_two_of_three_patients_share_is_left_out_and_costs_no_split(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    for number, patient in enumerate("AAABBBCCC"):
        shown = body(0) if number in {2, 5} else body(number)
        write_dicom(
            tmp_path / "files" / f"{number}.dcm", shown, PatientID=patient, SeriesInstanceUID=f"2.25.{ord(patient)}"
        )

    info = prepare(FolderConfig(path=tmp_path / "files"), SMALL, tmp_path / "root").info

    assert info.patient_safe
    assert info.counts.images == 8
    assert info.counts.duplicates == 1
    assert [split.patients for split in info.splits.values()] == [1, 1, 1]


def test_where_files_name_no_patient_figures_say_so(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for study in range(6):
        uids = {"StudyInstanceUID": f"2.25.{10 + study}", "SeriesInstanceUID": f"2.25.{20 + study}"}
        write_dicom(tmp_path / "files" / f"{study}.dcm", body(study), PatientID="", **uids)

    info = prepare(FolderConfig(path=tmp_path / "files"), SMALL, tmp_path / "root").info

    assert not info.patient_safe
    assert "not patient-safe" in info.note
