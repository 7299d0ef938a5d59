"""Series that make no patches: every slice of them is counted, with its reason."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from tests.data.series_to_cut import WriteDicom, a_slice_inside, cut, patients
from tests.data.sources.examples import example_of

from rayology.data import FolderConfig, ImageFolderConfig, NiftiConfig, PreparationConfig, PreparedDataset
from rayology.data.cutting import MIXED, OUTSIDE
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


def test_more_patches_than_fit_in_memory_are_refused_before_any_is_cut(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")

    with pytest.raises(SourceError, match=r"\d patches of 16 x 16 x 16, .* lower preparation\.cut\.overlap"):
        cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", spacing_mm=0.3, overlap=15)


@pytest.mark.parametrize(
    ("spacing_mm", "num_shown"),
    [(1.0, 8), (0.9, 8), (0.5, 4)],  # boxes of 16, 14.4 and 8 mm about the middle of slices 2 mm apart
)
def test_slices_outside_the_centre_are_counted(
    tmp_path: Path, write_dicom: WriteDicom, spacing_mm: float, num_shown: int
) -> None:
    patients(write_dicom, tmp_path / "files")

    data = cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", extent="centre", spacing_mm=spacing_mm)

    assert data.info.counts.images == 4
    assert data.info.reasons == {OUTSIDE: 4 * (20 - num_shown)}
    assert data.info.counts.skipped == 4 * (20 - num_shown)
    assert len(everyone_accounted_for(data, tmp_path / "root")) == 4 * (20 - num_shown)
    assert OUTSIDE in report_file(data).read_text(encoding="utf-8")


@pytest.mark.slow
def test_slices_that_filling_interpolates_from_are_shown(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files", heights=tuple(2.0 * number for number in range(20) if number != 10))

    data = cut(
        FolderConfig(path=str(tmp_path / "files")),
        tmp_path / "root",
        extent="centre",
        spacing_mm=1 / 8,  # a box of 2 mm: half of slice 9, and half of slice 10, which is made of 9 and 11
        series={"missing": "fill"},
    )

    assert data.info.counts.skipped == 4 * (19 - 2)


def test_a_file_of_which_any_slice_is_shown_is_not_counted(tmp_path: Path) -> None:
    data = cut(example_of(NiftiConfig, tmp_path), tmp_path / "root", extent="centre", spacing_mm=0.1)

    assert data.info.counts.images == 4
    assert data.info.reasons == {}


def test_too_few_patients_are_not_blamed_on_slices_outside_the_centre(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    for patient in (2, 3):
        shutil.rmtree(tmp_path / "files" / f"{patient}")

    with pytest.raises(SourceError) as raised:
        cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", extent="centre")

    assert "left out" not in str(raised.value)


def test_where_too_few_patients_are_left_the_error_says_why_others_are_not(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    patients(write_dicom, tmp_path / "files")
    for patient in (2, 3):
        a_slice_inside(tmp_path / "files" / f"{patient}").unlink()

    with pytest.raises(SourceError, match=r"38 files were left out, most often \(38\): SeriesError: .* missing"):
        cut(FolderConfig(path=str(tmp_path / "files")), tmp_path / "root", extent="centre")


def test_slices_of_one_volume_in_two_splits_are_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    names = sorted(file.relative_to(tmp_path / "files") for file in (tmp_path / "files").rglob("*.dcm"))
    splits = {"0": "train", "1": "validation", "2": "test", "3": "train"}
    rows = [f"{name},{'test' if str(name) == '3/000.dcm' else splits[name.parts[0]]}" for name in names]
    (tmp_path / "splits.csv").write_text("file,split\n" + "\n".join(rows) + "\n")

    data = cut(FolderConfig(path=tmp_path / "files", table=tmp_path / "splits.csv"), tmp_path / "root")

    assert data.info.patients == 3
    assert data.info.reasons == {f"SeriesError: {MIXED}": 20}


def test_where_all_series_are_refused_a_stray_file_of_another_modality_is_not_blamed(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    patients(write_dicom, tmp_path / "files", heights=(0.0, 1.0, 2.0, 7.5, 9.0))
    write_dicom(tmp_path / "files" / "stray.dcm", np.zeros((8, 8), np.int16), Modality="MR")

    with pytest.raises(SourceError, match=r"SeriesError: .*series\.irregular") as raised:
        prepare(
            FolderConfig(path=str(tmp_path / "files")),
            PreparationConfig(size=16, modality="CT", cut=PatchesConfig()),
            tmp_path / "root",
        )

    assert "set preparation.modality" not in str(raised.value)
    assert "MR 1" in str(raised.value)


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
    source = example_of(ImageFolderConfig, tmp_path)

    with pytest.raises(SourceError, match="do not say where they lie"):
        cut(source, tmp_path / "root")


def test_patches_much_larger_than_their_volumes_are_told_from_empty_ones(tmp_path: Path) -> None:
    source = example_of(NiftiConfig, tmp_path)
    preparation = PreparationConfig(size=128, cut=PatchesConfig(spacing_mm=1.5))

    with pytest.raises(SourceError, match=r"patches of 192 mm are nearly empty.*lower preparation\.size"):
        prepare(source, preparation, tmp_path / "root")


def test_an_overlap_must_leave_room(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ValueError), match=r"cut\.overlap 16 must be less than size 16"):
        cut(example_of(ImageFolderConfig, tmp_path), tmp_path / "root", overlap=16)
