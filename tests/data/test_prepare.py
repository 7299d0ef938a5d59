"""From files to a prepared dataset."""

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from tests.data.bodies import SMALL, WriteDicom, all_rows, body, prepared, skipped, skipped_file

from rayology.data import FolderConfig, PreparationConfig
from rayology.data import writing as writing_module
from rayology.data.dicom import read
from rayology.data.prepare import Progress, _state, _tasks, prepare
from rayology.data.sources.source import Item
from rayology.data.splits import SPLITS
from rayology.errors import SourceError, SourceLost


def test_a_folder_becomes_a_dataset_that_counts_what_it_holds(folder: Path) -> None:
    info = prepared(folder).info

    assert info.modality == "CT"
    assert info.image.shape == (1, 16, 16)
    assert info.image.values.unit == "HU"
    assert (info.counts.files, info.counts.images, info.patients) == (12, 12, 6)
    assert sum(counts.images for counts in info.splits.values()) == 12
    assert (info.patient_safe, info.note) == (True, "")


def test_stored_levels_are_the_values_within_half_a_step(tmp_path: Path, write_dicom: WriteDicom) -> None:
    pixels = [body(patient)[8:24, 8:24] for patient in range(3)]
    for patient, each in enumerate(pixels):
        write_dicom(tmp_path / "images" / f"{patient}.dcm", each, PatientID=str(patient))

    dataset = prepared(tmp_path / "images")

    kept = dataset.info.image.values
    stored = np.concatenate([dataset.split(name).stored(np.arange(1))[:, 0] for name in SPLITS])
    found = stored * kept.step + kept.low
    for each in pixels:
        assert np.abs(found - each).max((1, 2)).min() <= kept.step / 2


def test_the_classes_are_the_folders_names(folder: Path) -> None:
    dataset = prepare(FolderConfig(path=folder, labels="folder"), SMALL, folder.parent / "root")

    assert dataset.info.image.classes == ("a", "b")
    for name in SPLITS:
        assert set(dataset.split(name).labels) == {0, 1}
        assert dataset.info.splits[name].classes.keys() == {"a", "b"}


def test_the_same_files_and_settings_are_decoded_once(folder: Path) -> None:
    first, second = prepared(folder), prepared(folder)

    assert (first.reused, second.reused) == (False, True)
    assert first.path == second.path
    assert prepared(folder, min_foreground=0.01).path != first.path


def test_another_spelling_of_the_path_is_the_same_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(folder)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))

    for spelling in ("images", "~/images"):
        assert prepare(FolderConfig(path=Path(spelling)), SMALL, first.path.parents[1]).reused


def test_the_same_names_in_another_folder_are_another_source(folder: Path) -> None:
    first = prepared(folder)
    shutil.copytree(folder, folder.parent / "copy")

    assert not prepared(folder.parent / "copy").reused
    assert prepared(folder.parent / "copy").path != first.path


def test_a_changed_file_makes_another_dataset(folder: Path) -> None:
    first = prepared(folder)
    os.utime(folder / "a" / "0-0.dcm", ns=(0, 0))

    assert prepared(folder).path != first.path


def test_another_root_gives_the_same_images_and_splits_under_other_pseudonyms(folder: Path) -> None:
    one = prepare(FolderConfig(path=folder), SMALL, folder.parent / "one")
    other = prepare(FolderConfig(path=folder), SMALL, folder.parent / "other")

    assert one.info.fingerprint == other.info.fingerprint
    assert [row["split"] for row in all_rows(one)] == [row["split"] for row in all_rows(other)]
    assert {row["patient"] for row in all_rows(one)}.isdisjoint(row["patient"] for row in all_rows(other))
    assert (one.path / "images-00000.npy").read_bytes() == (other.path / "images-00000.npy").read_bytes()


def test_no_identity_reaches_the_root(folder: Path, write_dicom: WriteDicom) -> None:
    write_dicom(folder / "damaged", body(0), PatientID="Doe0", Rows=0)

    root = prepared(folder).path.parents[1]

    files = [file for file in root.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if b"Doe" in file.read_bytes()]
    assert [file.parent.name for file in files if file.suffix == ".key"] == ["keys"]


def test_names_of_files_and_folders_stay_with_the_key(tmp_path: Path, write_dicom: WriteDicom) -> None:
    source = tmp_path / "Doe^Jane"
    for patient in range(3):
        write_dicom(source / "Doe^Jane" / f"img{patient}.dcm", body(patient), PatientID=f"Doe^Jane {patient}")
    (source / "Doe^Jane" / "Doe^Jane.txt").write_text("text" * 100)

    dataset = prepare(FolderConfig(path=source), SMALL, tmp_path / "root")

    assert not [file for file in dataset.path.iterdir() if b"Doe" in file.read_bytes()]
    assert dataset.info.source == {"kind": "folder", "labels": "none", "attribute": "BodyPartExamined"}
    assert [each["file"] for each in skipped(dataset)] == ["Doe^Jane.txt"]
    assert stat.S_IMODE(skipped_file(dataset).stat().st_mode) == 0o600


def test_no_error_names_a_folder_below_the_source(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_dicom(tmp_path / "images" / "Doe^Jane" / "air.dcm", np.full((32, 32), -1000, np.int16))

    with pytest.raises(SourceError) as raised:
        prepared(tmp_path / "images")

    assert "Doe" not in str(raised.value)


def test_the_clipped_share_of_the_foreground_is_reported(tmp_path: Path, write_dicom: WriteDicom) -> None:
    pixels = np.full((16, 16), -1000, np.int16)
    pixels[:8] = 0
    pixels[:2] = 3000
    for patient in range(3):
        write_dicom(tmp_path / "images" / f"{patient}.dcm", np.rot90(pixels, patient), PatientID=str(patient))

    assert prepared(tmp_path / "images").info.clipped_share == pytest.approx(0.25)


def test_the_spacing_follows_the_size(folder: Path) -> None:
    assert all(row["spacing_mm"] == [1.0, 1.0] for row in all_rows(prepared(folder)))


def test_progress_counts_every_file_and_every_image(folder: Path) -> None:
    seen: list[Progress] = []

    prepare(FolderConfig(path=folder), SMALL, folder.parent / "root", report=seen.append)

    assert [each for each in seen if each.done == each.total] == [
        Progress("reading", 12, 12),
        Progress("writing", 12, 12),
    ]
    assert [each for each in seen if each.done == 0] == [Progress("comparing", 0, 12)]
    assert len(seen) == 25


def test_many_images_are_cut_into_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A quarter of a gigabyte would take long to fill.
    monkeypatch.setattr(writing_module, "MAX_SHARD_BYTES", 5 * 2 * 16 * 16)

    dataset = prepared(folder)

    assert [record.name for record in dataset.info.files if record.name.startswith("images")] == [
        f"images-{number:05d}.npy" for number in range(3)
    ]
    assert sum(len(dataset.split(name).stored(np.arange(len(dataset.split(name))))) for name in SPLITS) == 12


@pytest.mark.parametrize("percentiles", [(50, 50), (99, 1)])
def test_percentiles_that_do_not_rise_are_refused(percentiles: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="first must lie below the second"):
        PreparationConfig(percentiles=percentiles)


@pytest.mark.slow
def test_the_head_ct_keeps_its_hounsfield_units(head_folder: Path, tmp_path: Path) -> None:
    dataset = prepare(FolderConfig(path=head_folder), PreparationConfig(), tmp_path)

    kept = dataset.info.image.values
    train = dataset.split("train")
    hounsfield = train.stored(np.arange(len(train))) * kept.step + kept.low
    source = np.stack([instance.pixels for file in head_folder.rglob("*.dcm") for instance in read(file)])
    assert (kept.low, kept.high, kept.unit) == (-1000, 1000, "HU")
    for low, high in ((-1100, -900), (0, 80)):
        share = np.mean((hounsfield >= low) & (hounsfield <= high))
        assert share == pytest.approx(np.mean((source >= low) & (source <= high)), abs=0.1)


def test_tasks_take_so_many_images_and_every_item_once_in_order() -> None:
    items = [Item(Path("a"), rows=range(40)), *[Item(Path(str(number))) for number in range(50)], Item(Path("b"))]

    tasks = list(_tasks(enumerate(items), 16))

    assert [each for task in tasks for each in task] == list(enumerate(items))
    assert [len(task) for task in tasks] == [1, 16, 16, 16, 3]


def test_a_file_that_cannot_be_looked_at_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "doe").touch()

    with pytest.raises(SourceLost, match=r"^a file of the source: Not a directory; see that each can be read"):
        _state(tmp_path / "doe" / "1.dcm")
