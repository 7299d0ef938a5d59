"""Series that make no patches: every slice of them is counted, with its reason."""

import json
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.data.series_to_cut import WriteDicom, a_slice_inside, cut, patients

from rayology.data import FolderConfig, PicturesConfig, PreparationConfig, PreparedDataset
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import Progress, prepare
from rayology.data.report import report_file
from rayology.data.volumes import read_volumes
from rayology.errors import ConfigError, SourceError


def test_a_series_that_makes_no_volume_is_counted_with_its_reason(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    a_slice_inside(tmp_path / "files" / "2").unlink()
    source = FolderConfig(path=str(tmp_path / "files"))

    refused = cut(source, tmp_path / "root")
    filled = cut(source, tmp_path / "root", series={"missing": "fill"})

    assert refused.info.patients == 3
    assert any("missing" in reason for reason in refused.info.reasons)
    assert filled.info.patients == 4
    assert sum(filled.info.mended.values()) == 1
    assert next(iter(filled.info.mended)) in report_file(filled).read_text(encoding="utf-8")


def everyone_accounted_for(data: PreparedDataset, root: Path) -> list[str]:
    """Return the names of files that are in no image, from the list that stays with the key."""
    (listed,) = (root / "keys").glob(f"{data.info.fingerprint}.skipped.json")
    return sorted(each["file"] for each in json.loads(listed.read_bytes()))


def test_every_file_of_a_refused_series_is_counted_and_listed(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    a_slice_inside(tmp_path / "files" / "2").unlink()

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root")

    expected = sorted(f"2/{file.name}" for file in (tmp_path / "files" / "2").iterdir())
    assert everyone_accounted_for(data, tmp_path / "root") == expected
    assert data.info.counts.skipped == len(expected)
    assert len(data.info.reasons) == 1


@pytest.mark.parametrize("kind", ["localizer", "copy"])
def test_a_slice_that_the_rules_drop_is_counted(tmp_path: Path, write_dicom: WriteDicom, kind: str) -> None:
    patients(write_dicom, tmp_path / "files")
    dropped = tmp_path / "files" / "1" / "900.dcm"
    dataset = dcmread(a_slice_inside(tmp_path / "files" / "1"))
    dataset.SOPInstanceUID = "2.25.999"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if kind == "localizer" else "AXIAL"]
    dataset.save_as(dropped)

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", series={"duplicates": "drop"})

    assert everyone_accounted_for(data, tmp_path / "root") == ["1/900.dcm"]
    assert data.info.patients == 4


def test_an_absurd_spacing_costs_its_series_alone(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    for file in (tmp_path / "files" / "3").iterdir():
        dataset = dcmread(file)
        dataset.PixelSpacing = [99, 99]
        dataset.save_as(file)

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", spacing_mm=0.5)

    assert data.info.patients == 3
    assert any("raise preparation.cut.spacing_mm" in reason for reason in data.info.reasons)


def test_files_that_name_no_series_are_not_put_together(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    for file in (tmp_path / "files" / "3").iterdir():
        dataset = dcmread(file)
        del dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.PatientID
        dataset.save_as(file)

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root")

    assert data.info.patients == 3
    assert any("names no series" in reason for reason in data.info.reasons)
    assert read_volumes((tmp_path / "files" / "3").iterdir()).volumes == ()


def test_several_modalities_are_told_before_anything_is_cut(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    for file in (tmp_path / "files" / "3").iterdir():
        dataset = dcmread(file)
        dataset.Modality = "MR"
        dataset.save_as(file)
    told: list[Progress] = []

    with pytest.raises(SourceError, match="several modalities"):
        prepare(
            FolderConfig(path=str(tmp_path / "files")),
            PreparationConfig(size=16, cut=PatchesConfig()),
            tmp_path / "root",
            report=told.append,
        )

    assert {each.stage for each in told} == {"reading"}


def test_where_no_series_makes_a_volume_the_error_says_why(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files", heights=(0.0, 1.0, 2.0, 7.5, 9.0))

    with pytest.raises(SourceError, match=r"series\.\w+"):
        cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root")


def test_pictures_make_no_volumes(tmp_path: Path) -> None:
    source = PicturesConfig.example(tmp_path)

    with pytest.raises(SourceError, match="do not say where they lie"):
        cut(source, tmp_path / "root")


def test_an_overlap_must_leave_room(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ValueError), match=r"cut\.overlap 16 must be less than size 16"):
        cut(PicturesConfig.example(tmp_path), tmp_path / "root", overlap=16)
