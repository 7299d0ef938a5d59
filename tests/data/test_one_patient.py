"""Who is one patient: whoever shares an instance, a study or a frame of reference, whatever the files call them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.data.bodies import SMALL, WriteDicom, all_rows, prepared
from tests.data.dicomweb_server import Archive
from tests.data.series_to_cut import cut

from rayology.data import DicomwebConfig, FolderConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.errors import SourceError

PATIENTS = 6


def blocks(seed: int) -> NDArray[np.int16]:
    """Draw coarse blocks, which are unlike those of other seeds even at low resolution."""
    return np.kron(np.random.default_rng(seed).integers(-900, 900, (4, 4)), np.ones((8, 8))).astype(np.int16)


def write_twice(write_dicom: WriteDicom, folder: Path, second: dict[str, str], *, slices: int = 1) -> None:
    """Write two series of each patient that say the patient differently; ``#`` stands for the patient's number."""
    for number in range(PATIENTS):
        for series in range(2):
            said = {"StudyInstanceUID": "2.25.1#", "FrameOfReferenceUID": "2.25.2#", "PatientID": "P#"}
            said |= second if series else {}
            for height in range(slices):
                write_dicom(
                    folder / f"{number}-{series}-{height:02}.dcm",
                    blocks(1000 * number + 100 * series + height),
                    **{keyword: value.replace("#", str(number)) for keyword, value in said.items()},
                    SeriesInstanceUID=f"2.25.3{number}{series}",
                    ImagePositionPatient=[0, 0, 2 * height],
                    ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                    PixelSpacing=[1, 1],
                )


def check_are_one(data: PreparedDataset) -> None:
    rows = all_rows(data)
    splits = [row["split"] for row in rows]
    assert splits[::2] == splits[1::2]
    assert len({row["joined_patient"] for row in rows}) == PATIENTS < len({row["patient"] for row in rows})
    assert (data.info.patients, data.info.counts.joined_patients) == (PATIENTS, PATIENTS)
    assert sum(split.patients for split in data.info.splits.values()) == PATIENTS
    assert data.info.patient_safe


@pytest.mark.parametrize(
    "second",
    [
        {"IssuerOfPatientID": "HOSPITAL"},
        {"PatientID": ""},
        {"PatientID": "Q#"},
        {"PatientID": "Q#", "StudyInstanceUID": "2.25.9#"},
        {"PatientID": "Q#", "FrameOfReferenceUID": ""},
        {"PatientID": "", "StudyInstanceUID": ""},
    ],
)
def test_who_shares_a_study_or_a_frame_of_reference_is_one_patient(
    tmp_path: Path, write_dicom: WriteDicom, second: dict[str, str]
) -> None:
    write_twice(write_dicom, tmp_path / "files", second)

    data = prepared(tmp_path / "files")

    check_are_one(data)
    assert not data.info.note


def test_an_index_in_which_nobody_was_joined_has_one_name_for_a_patient(folder: Path) -> None:
    assert "joined_patient" not in all_rows(prepared(folder))[0]


def test_volumes_of_one_study_are_of_one_patient(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_twice(write_dicom, tmp_path / "files", {"IssuerOfPatientID": "HOSPITAL"}, slices=20)

    check_are_one(cut(FolderConfig(path=tmp_path / "files"), tmp_path / "root", extent="centre"))


def test_slices_of_a_series_that_say_the_patient_differently_make_one_volume(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    for number, height in ((number, height) for number in range(3) for height in range(20)):
        said = {"IssuerOfPatientID": "HOSPITAL"} if height % 2 else {}
        write_dicom(
            tmp_path / "files" / f"{number}-{height:02}.dcm",
            blocks(100 * number + height),
            PatientID=str(number),
            SeriesInstanceUID=f"2.25.3{number}",
            ImagePositionPatient=[0, 0, 2 * height],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
            **said,
        )

    data = cut(FolderConfig(path=tmp_path / "files"), tmp_path / "root", extent="centre")

    assert (data.info.counts.images, data.info.patients, data.info.counts.skipped) == (3, 3, 36)


@pytest.mark.usefixtures("no_credentials")
def test_an_archive_s_studies_are_of_one_patient_each(
    archive: Archive, tmp_path: Path, write_dicom: WriteDicom
) -> None:
    write_twice(write_dicom, tmp_path / "files", {"IssuerOfPatientID": "HOSPITAL"})
    files = sorted((tmp_path / "files").iterdir())
    archive.instances = {f"1.2.3.1{number:02}": file.read_bytes() for number, file in enumerate(files)}

    check_are_one(prepare(DicomwebConfig(url=archive.url), SMALL, tmp_path / "root"))


def test_a_copy_under_another_patient_makes_both_one(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number in range(4):
        write_dicom(tmp_path / "files" / f"{number}.dcm", blocks(number), PatientID=f"P{number}")
    copied = {"PatientID": "P9", "StudyInstanceUID": ""}
    write_dicom(tmp_path / "files" / "copy.dcm", blocks(0), SOPInstanceUID="2.25.77", PatientID="P0")
    write_dicom(tmp_path / "files" / "copy2.dcm", blocks(0), SOPInstanceUID="2.25.77", **copied)
    write_dicom(tmp_path / "files" / "other.dcm", blocks(9), **copied)

    data = prepared(tmp_path / "files")

    assert (data.info.patients, data.info.counts.duplicates, data.info.counts.joined_patients) == (4, 1, 1)


@pytest.mark.parametrize("frame", ["1.2.840.10008.1.4.1.1", "", "0.0"])
@pytest.mark.parametrize("study", ["", "0"])
def test_patients_who_share_an_atlas_or_a_placeholder_are_not_one(
    tmp_path: Path, write_dicom: WriteDicom, study: str, frame: str
) -> None:
    for number in range(PATIENTS):
        uids = {"StudyInstanceUID": study, "FrameOfReferenceUID": frame}
        write_dicom(tmp_path / "files" / f"{number}.dcm", blocks(number), PatientID=f"P{number}", **uids)

    info = prepared(tmp_path / "files").info

    assert (info.patients, info.counts.joined_patients) == (PATIENTS, 0)


def test_where_all_patients_share_a_study_the_error_says_so(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number in range(PATIENTS):
        write_dicom(
            tmp_path / "files" / f"{number}.dcm", blocks(number), PatientID=f"P{number}", StudyInstanceUID="2.25.1"
        )

    with pytest.raises(SourceError, match=r"6 patients count as 1, because they share studies .* UIDs of their own"):
        prepared(tmp_path / "files")


def test_a_declared_split_that_divides_a_study_is_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_twice(write_dicom, tmp_path / "files", {"IssuerOfPatientID": "HOSPITAL"})
    names = sorted(file.name for file in (tmp_path / "files").iterdir())
    rows = [f"{name},{'test' if '-1-' in name else 'train'}" for name in names]
    (tmp_path / "table.csv").write_text("\n".join(["file,split", *rows]))

    with pytest.raises(SourceError, match=r"12 images are of a patient in another split.* 12 patients count as 6"):
        prepare(FolderConfig(path=tmp_path / "files", table=tmp_path / "table.csv"), SMALL, tmp_path / "root")
