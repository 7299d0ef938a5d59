"""Which volumes count as one where images are their patches."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from tests.data.series_to_cut import WriteDicom, cut, patients, phantoms

from rayology.data import FolderConfig, NiftiConfig, PhantomConfig, PreparationConfig
from rayology.data.preparation import PatchesConfig
from rayology.data.prepare import Progress, prepare
from rayology.data.splits import SPLITS
from rayology.errors import SourceError

Change = Callable[[NDArray[np.int64]], NDArray[np.int64]]
CHANGES: dict[str, Change] = {
    "exact": lambda stored: stored,
    "rescaled": lambda stored: stored * 102 // 100 + 3,
    "noisy": lambda stored: stored + np.random.default_rng(0).normal(0, 10, stored.shape).astype(np.int64),
}


def by_split(folder: Path) -> FolderConfig:
    """Declare a split for each patient, in turn; one whose folder ends in ``copy`` is not in that of who is first."""
    names = sorted({file.parent for file in folder.rglob("*.dcm")}, key=lambda path: path.name)
    rows = [
        f"{file.relative_to(folder)},{SPLITS[1 if path.name.endswith('copy') else number % 3]}"
        for number, path in enumerate(names)
        for file in sorted(path.iterdir())
    ]
    table = folder.parent / "splits.csv"
    table.write_text("file,split\n" + "\n".join(rows) + "\n")
    return FolderConfig(path=folder, table=table)


def copy_series(series: Path, to: Path, change: Change = CHANGES["exact"], *, patient: str = "Copy") -> None:
    """Copy a series under other names, a little changed."""
    to.mkdir(parents=True)
    for file in series.iterdir():
        dataset = dcmread(file)
        dataset.PatientID = patient
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(dataset, keyword, f"{getattr(dataset, keyword)[:30]}9")
        dataset.PixelData = change(dataset.pixel_array.astype(np.int64)).clip(0, 4095).astype("<u2").tobytes()
        dataset.save_as(to / file.name)


def first_series(folder: Path) -> Path:
    return min((file.parent for file in folder.rglob("*.dcm")), key=lambda path: path.name)


@pytest.mark.slow
def test_small_patches_join_no_patients_though_they_look_alike(tmp_path: Path) -> None:
    data = cut(PhantomConfig(patients=12, slices=4, size=32), tmp_path, spacing_mm=5.0)

    assert data.info.counts.duplicates == 0
    # One of each class of four patients, which are fewer where any are joined.
    assert [held.patients for held in data.info.splits.values()] == [6, 3, 3]


@pytest.mark.slow
def test_a_declared_split_stands_though_small_patches_look_alike(tmp_path: Path) -> None:
    source = by_split(phantoms(tmp_path, 12))

    data = cut(source, tmp_path / "root", spacing_mm=5.0)

    assert data.info.patient_safe
    assert [held.patients for held in data.info.splits.values()] == [4, 4, 4]


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_of_a_volume_under_another_name_belongs_to_the_same_split(tmp_path: Path, change: str) -> None:
    folder = phantoms(tmp_path, 6)
    first = first_series(folder)
    copy_series(first, first.with_name("copy"), CHANGES[change])

    with pytest.raises(SourceError, match="equal an image"):
        cut(by_split(folder), tmp_path / "root", spacing_mm=5.0)


def test_a_copy_is_found_by_a_preparation_that_was_interrupted(tmp_path: Path) -> None:
    folder = phantoms(tmp_path, 6)
    first = first_series(folder)
    copy_series(first, first.with_name("copy"))
    source, preparation = by_split(folder), PreparationConfig(size=16, cut=PatchesConfig(spacing_mm=5.0))

    def stop(progress: Progress) -> None:
        if (progress.stage, progress.done) == ("cutting", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(source, preparation, tmp_path / "root", report=stop)
    told: list[Progress] = []
    with pytest.raises(SourceError, match="equal an image"):
        prepare(source, preparation, tmp_path / "root", report=told.append)

    assert [each.done for each in told if each.stage == "cutting"] == list(range(1, 8))


def test_a_volume_that_two_of_three_patients_share_is_left_out_whole(tmp_path: Path) -> None:
    folder = phantoms(tmp_path, 3)
    series = sorted({file.parent for file in folder.rglob("*.dcm")}, key=lambda path: path.name)
    whole = cut(FolderConfig(path=folder), tmp_path / "whole", spacing_mm=5.0)
    copy_series(series[0], folder / "z", patient=series[1].name)

    data = cut(FolderConfig(path=folder), tmp_path / "root", spacing_mm=5.0)

    assert data.info.patients == 3
    assert data.info.patient_safe
    assert data.info.counts.images == whole.info.counts.images
    assert data.info.counts.duplicates == whole.info.counts.images // 3


def test_volumes_whose_middle_shows_nothing_join_no_patients(tmp_path: Path, write_dicom: WriteDicom) -> None:
    patients(write_dicom, tmp_path / "files")
    for file in (tmp_path / "files").rglob("*.dcm"):
        dataset = dcmread(file)
        if abs(dataset.ImagePositionPatient[2] - 20) < 5:
            dataset.PixelData = bytes(len(dataset.PixelData))
            dataset.save_as(file)

    data = cut(FolderConfig(path=tmp_path / "files"), tmp_path / "root")

    assert data.info.patient_safe
    assert data.info.counts.duplicates == 0


@pytest.mark.slow
@pytest.mark.parametrize(("num_patients", "slices", "spacing_mm"), [(20, 6, 2.0), (24, 8, 4.0)])
def test_no_phantoms_are_joined(tmp_path: Path, num_patients: int, slices: int, spacing_mm: float) -> None:
    folder = PhantomConfig(patients=num_patients, slices=slices, size=64).build(tmp_path).items()[0].path.parents[2]

    data = cut(by_split(folder), tmp_path / "root", spacing_mm=spacing_mm)

    assert data.info.patients == num_patients


@pytest.mark.slow
@pytest.mark.parametrize(("count", "spacing_mm"), [(40, 0.5), (60, 1.0)])
def test_no_hippocampi_are_joined(shared_data: Path, tmp_path: Path, count: int, spacing_mm: float) -> None:
    folder = tmp_path / "hippocampi"
    (folder / "images").mkdir(parents=True)
    for file in sorted((shared_data / "seg_hippocampus_nifti" / "images").iterdir())[:count]:
        shutil.copy(file, folder / "images")
    names = sorted(f"images/{file.name}" for file in (folder / "images").iterdir())
    table = tmp_path / "splits.csv"
    rows = [f"{name},{SPLITS[number % 3]}" for number, name in enumerate(names)]
    table.write_text("file,split\n" + "\n".join(rows) + "\n")
    source = NiftiConfig(path=str(folder), image="images/{name}.nii.gz", modality="MR", table=table)

    data = cut(source, tmp_path / "root", spacing_mm=spacing_mm)

    assert data.info.patients == count
