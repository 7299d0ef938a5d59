"""From files to a prepared dataset."""

import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import generate_uid

from rayology.data import FolderConfig, PhantomConfig, PreparationConfig, PreparedDataset
from rayology.data import prepare as prepare_module
from rayology.data import writing as writing_module
from rayology.data.dicom import read
from rayology.data.preparation import Reading, read_item
from rayology.data.prepare import Progress, _tasks, prepare
from rayology.data.report import report_file
from rayology.data.selection import Selection
from rayology.data.source import Item, Source
from rayology.data.splits import SPLITS
from rayology.errors import DatasetError, SourceError

WriteDicom = Callable[..., Path]
SMALL = PreparationConfig(size=16)


def body(seed: int) -> NDArray[np.int16]:
    """Draw a square body in air, in Hounsfield units."""
    pixels = np.full((32, 32), -1000, np.int16)
    pixels[8:24, 8:24] = np.random.default_rng(seed).integers(-100, 900, (16, 16))
    return pixels


@pytest.fixture
def folder(tmp_path: Path, write_dicom: WriteDicom) -> Path:
    """Six patients of two classes, two slices each."""
    for patient, slice_ in itertools.product(range(6), range(2)):
        write_dicom(
            tmp_path / "images" / "ab"[patient % 2] / f"{patient}-{slice_}.dcm",
            body(patient),
            PatientID=f"Doe{patient}",
            PixelSpacing=[0.5, 0.5],
        )
    return tmp_path / "images"


def prepared(folder: Path, **preparation: object) -> PreparedDataset:
    config = PreparationConfig.model_validate({"size": 16} | preparation)
    return prepare(FolderConfig(path=folder), config, folder.parent / "root")


def all_rows(dataset: PreparedDataset) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(dataset.path / "index.parquet").to_pylist()
    return rows


def skipped_file(dataset: PreparedDataset) -> Path:
    return dataset.path.parents[1] / "keys" / f"{dataset.path.name}.skipped.json"


def skipped(dataset: PreparedDataset) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(skipped_file(dataset).read_text())
    return listed


def test_a_folder_becomes_a_dataset_that_counts_what_it_holds(folder: Path) -> None:
    info = prepared(folder).info

    assert info.modality == "CT"
    assert info.image.shape == (1, 16, 16)
    assert info.image.values.unit == "HU"
    assert (info.counts.files, info.counts.images, info.patients) == (12, 12, 6)
    assert sum(counts.images for counts in info.splits.values()) == 12
    assert (info.patient_safe, info.note) == (True, "")


def test_no_patient_is_in_two_splits(folder: Path) -> None:
    rows = all_rows(prepared(folder))

    assert {row["split"] for row in rows} == set(SPLITS)
    assert len({(row["patient"], row["split"]) for row in rows}) == 6


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


def test_a_file_outside_the_folders_of_classes_is_skipped(folder: Path, write_dicom: WriteDicom) -> None:
    write_dicom(folder / "stray.dcm", body(9))

    info = prepare(FolderConfig(path=folder, labels="folder"), SMALL, folder.parent / "root").info

    assert (info.counts.images, info.counts.skipped) == (12, 1)
    assert ["has no class where others have" in reason for reason in info.reasons] == [True]


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


def test_nothing_half_is_left_by_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # A full disk cannot be made without privileges.
    monkeypatch.setattr(writing_module, "_write_index", full)

    with pytest.raises(DatasetError, match="no space is left"):
        prepared(folder)
    assert [file for file in (folder.parent / "root" / "datasets").iterdir() if file.is_dir()] == []


def stop_after(files: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.stage == "reading" and progress.done == files:
            raise KeyboardInterrupt

    return report


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """The items that are read, in order."""
    read: list[Item] = []

    def noted(source: Source, item: Item, preparation: PreparationConfig, key: bytes) -> Reading:
        read.append(item)
        return read_item(source, item, preparation, key)

    # What is read shows nowhere else, and workers of a Ray that other tests started would not note it here.
    monkeypatch.setattr(prepare_module, "read_item", noted)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    return read


def test_an_interrupted_preparation_goes_on_where_it_was(folder: Path, read_files: list[Item]) -> None:
    (folder / "notes.txt").write_text("no image")
    whole = prepare(FolderConfig(path=folder), SMALL, folder.parent / "whole")
    num_files = len(read_files)
    read_files.clear()

    with pytest.raises(KeyboardInterrupt):
        prepare(FolderConfig(path=folder), SMALL, folder.parent / "root", report=stop_after(7))
    resumed = prepare(FolderConfig(path=folder), SMALL, folder.parent / "root")

    assert len(read_files) == num_files
    assert resumed.info.counts == whole.info.counts
    assert resumed.info.reasons == whole.info.reasons
    images = [file.sha256 for file in whole.info.files if file.name.startswith("images")]
    assert [file.sha256 for file in resumed.info.files if file.name.startswith("images")] == images
    assert not list(resumed.path.parent.glob(".*.partial"))


@pytest.mark.parametrize("damage", ["torn line", "short pixels", "long pixels"])
def test_what_was_half_written_when_the_process_ended_is_read_again(
    folder: Path, read_files: list[Item], damage: str
) -> None:
    root = folder.parent / "root"
    whole = prepare(FolderConfig(path=folder), SMALL, folder.parent / "whole")
    num_files = len(read_files)
    read_files.clear()
    with pytest.raises(KeyboardInterrupt):
        prepare(FolderConfig(path=folder), SMALL, root, report=stop_after(7))
    (partial,) = (root / "datasets").glob(".*.partial")
    file = partial / ("readings.jsonl" if damage == "torn line" else "pixels-1.scratch")
    content = file.read_bytes()
    file.write_bytes(content + b"half a slice" if damage == "long pixels" else content[:-3])

    resumed = prepare(FolderConfig(path=folder), SMALL, root)

    again = {"torn line": 1, "short pixels": 7, "long pixels": 0}[damage]
    assert len(read_files) == num_files + again
    images = [file.sha256 for file in whole.info.files if file.name.startswith("images")]
    assert [file.sha256 for file in resumed.info.files if file.name.startswith("images")] == images


def test_files_that_are_no_image_are_skipped_counted_and_listed(folder: Path, write_dicom: WriteDicom) -> None:
    (folder / "notes.txt").write_text("text" * 100)
    whole = write_dicom(folder / "cut.dcm", body(0)).read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-500])

    dataset = prepared(folder)

    listed = skipped(dataset)
    assert (dataset.info.counts.images, dataset.info.counts.skipped) == (12, 2)
    assert [each["file"] for each in listed] == ["cut.dcm", "notes.txt"]
    assert listed[0]["reason"].startswith("UnreadableImage: ")
    assert dataset.info.reasons["NotDicom: has no DICOM preamble"] == 1


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


def test_folders_of_one_patient_each_are_no_classes(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number, name in enumerate(["Doe^Jane", "Doe^John", "Roe^Jane", "Roe^Jane"]):
        write_dicom(tmp_path / "images" / name / f"{number}.dcm", body(number), PatientID=f"{number}")

    with pytest.raises(SourceError, match=r"2 of 3 folders hold a single patient.*labels: none") as raised:
        prepare(FolderConfig(path=tmp_path / "images", labels="folder"), SMALL, tmp_path / "root")

    assert "Doe" not in str(raised.value)
    assert [file for file in (tmp_path / "root" / "datasets").iterdir() if file.is_dir()] == []


def test_a_source_without_an_image_says_what_it_found(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "images" / f"{number}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.txt").write_text("text" * 100)

    with pytest.raises(SourceError, match=r"none of 3 files is an image; most often \(3\): NotDicom: has no DICOM"):
        prepared(tmp_path / "images")


def test_mixed_modalities_are_counted_and_the_setting_is_named(folder: Path, write_dicom: WriteDicom) -> None:
    write_dicom(folder / "mr.dcm", body(0), Modality="MR")

    with pytest.raises(SourceError, match=r"several modalities \(CT 12, MR 1\); set preparation.modality"):
        prepared(folder)
    assert prepared(folder, modality="CT").info.counts.other_modality == 1
    with pytest.raises(SourceError, match="no image of the modality asked for, but CT 12, MR 1"):
        prepared(folder, modality="PT")


def test_a_copy_of_an_instance_counts_once(folder: Path) -> None:
    (folder / "copy.dcm").write_bytes((folder / "a" / "0-0.dcm").read_bytes())

    counts = prepared(folder).info.counts

    assert (counts.images, counts.duplicates) == (12, 1)


def test_colour_among_grey_is_skipped(folder: Path, write_dicom: WriteDicom) -> None:
    colour = np.zeros((32, 96), np.uint8)
    write_dicom(
        folder / "colour.dcm",
        colour,
        Columns=32,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )

    info = prepared(folder).info

    assert (info.counts.images, info.counts.skipped) == (12, 1)
    assert ["another number of channels" in reason for reason in info.reasons] == [True]


def test_nearly_empty_images_are_left_out(folder: Path, write_dicom: WriteDicom) -> None:
    write_dicom(folder / "air.dcm", np.full((32, 32), -1000, np.int16))

    counts = prepared(folder).info.counts

    assert (counts.images, counts.nearly_empty) == (12, 1)


def test_a_source_of_air_says_which_setting_to_lower(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_dicom(tmp_path / "images" / "air.dcm", np.full((32, 32), -1000, np.int16))
    write_dicom(tmp_path / "flat" / "flat.dcm", np.full((32, 32), 5, np.int16), Modality="MR")

    for name in ("images", "flat"):
        with pytest.raises(SourceError, match=r"nearly empty; lower preparation\.min_foreground"):
            prepared(tmp_path / name)


@pytest.mark.parametrize("min_foreground", [0.0, 0.05])
def test_a_series_whose_foreground_has_one_value_is_counted_out(
    folder: Path, write_dicom: WriteDicom, min_foreground: float
) -> None:
    mask = np.zeros((32, 32), np.int16)
    mask[8:24, 8:24] = 1
    for number in range(2):
        write_dicom(folder / f"mask{number}.dcm", mask, Modality="MR", SeriesInstanceUID="2.25.9")
    for file, number in itertools.product(range(3), range(2)):
        pixels = body(file) + np.int16(1000)
        write_dicom(folder / f"{file}{number}.dcm", pixels, Modality="MR", PatientID=f"{file}")

    dataset = prepared(folder, modality="MR", min_foreground=min_foreground)

    assert (dataset.info.counts.images, dataset.info.counts.skipped) == (6, 2)
    assert ["its foreground has one value" in reason for reason in dataset.info.reasons] == [True]
    assert [each["file"] for each in skipped(dataset)] == ["mask0.dcm", "mask1.dcm"]
    assert all(float(str(row["scale_low"])) < float(str(row["scale_high"])) for row in all_rows(dataset))


def test_a_source_of_flat_series_says_what_is_left(tmp_path: Path, write_dicom: WriteDicom) -> None:
    mask = np.zeros((32, 32), np.int16)
    mask[8:24, 8:24] = 1
    write_dicom(tmp_path / "images" / "mask.dcm", mask, Modality="MR")

    with pytest.raises(SourceError, match=r"0 nearly empty, and 1 files of a series whose foreground has one value"):
        prepared(tmp_path / "images")


def test_each_series_has_its_own_range_and_a_slice_has_none(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for patient, slice_ in itertools.product(range(3), range(4)):
        bright = (np.roll(body(0), 4 * patient).astype(np.int32) + 1000) * (patient + 1) * (slice_ + 1) // 2
        file = tmp_path / "images" / f"{patient}-{slice_}.dcm"
        uids = {"PatientID": str(patient), "SeriesInstanceUID": f"2.25.{patient}"}
        write_dicom(file, bright.astype(np.int16), Modality="MR", **uids)

    dataset = prepared(tmp_path / "images")

    rows = all_rows(dataset)
    highs = sorted({float(str(row["scale_high"])) for row in rows})
    assert highs == pytest.approx([highs[0], 2 * highs[0], 3 * highs[0]], rel=0.01)
    assert (dataset.info.image.values.low, dataset.info.image.values.high) == (0, 1)
    assert dataset.info.image.values.unit == "fraction of the series' range"


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
    assert len(seen) == 24


def test_many_images_are_cut_into_shards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A quarter of a gigabyte would take long to fill.
    monkeypatch.setattr(writing_module, "MAX_SHARD_BYTES", 5 * 2 * 16 * 16)

    dataset = prepared(folder)

    assert [record.name for record in dataset.info.files if record.name.startswith("images")] == [
        f"images-{number:05d}.npy" for number in range(3)
    ]
    assert sum(len(dataset.split(name).stored(np.arange(len(dataset.split(name))))) for name in SPLITS) == 12


def read_beside(image: Path, mask: Path) -> Reading:
    """Read an image with a mask as the phantom's are read."""
    return read_item(PhantomConfig().build(image.parent), Item(image, beside=(mask,)), SMALL, b"key")


def test_a_mask_moves_with_its_image(tmp_path: Path, write_dicom: WriteDicom) -> None:
    pixels = body(0)
    image = write_dicom(tmp_path / "a.dcm", pixels[:, :24])
    mask = np.zeros((32, 24), np.uint8)
    mask[8:16, 8:16] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")

    (slice_,) = read_beside(image, tmp_path / "a.png").slices

    expected = np.zeros((16, 16), np.uint8)
    expected[4:8, 6:10] = 1
    np.testing.assert_array_equal(slice_.mask, expected)


@pytest.mark.parametrize("mask", ["missing", "text", "other size"])
def test_a_mask_that_does_not_fit_skips_its_image(tmp_path: Path, write_dicom: WriteDicom, mask: str) -> None:
    image = write_dicom(tmp_path / "a.dcm", body(0))
    (tmp_path / "text").write_text("no image")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "other size", format="PNG")

    reading = read_beside(image, tmp_path / mask)

    assert not reading.slices
    assert reading.reason.startswith("UnreadableImage: its mask")


def test_a_mask_of_absurd_size_skips_its_image(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_dicom(tmp_path / "a.dcm", body(0))
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")
    # A mask of 200 million pixels would take long to write.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32)

    reading = read_beside(image, tmp_path / "a.png")

    assert reading.reason.startswith("UnreadableImage: its mask cannot be read (DecompressionBombError)")


def test_the_phantom_comes_with_classes_and_masks(tmp_path: Path) -> None:
    dataset = prepare(PhantomConfig(patients=9, slices=2, size=32), PreparationConfig(size=32), tmp_path)

    assert len(dataset.info.image.classes) == 3
    for name in SPLITS:
        split = dataset.split(name)
        assert split.masks(np.arange(len(split))).shape == (len(split), 32, 32)
        assert len(dataset.info.splits[name].classes) == 3


@pytest.mark.parametrize("percentiles", [(50, 50), (99, 1)])
def test_percentiles_that_do_not_rise_are_refused(percentiles: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="first must lie below the second"):
        PreparationConfig(percentiles=percentiles)


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


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["CT", "MR", "US"])
def test_the_whole_zoo_is_never_fatal(shared_data: Path, tmp_path: Path, modality: str) -> None:
    dataset = prepare(FolderConfig(path=shared_data / "dicom_zoo"), PreparationConfig(modality=modality), tmp_path)

    counts = dataset.info.counts
    assert counts.files == 301
    assert counts.images >= 20
    assert counts.skipped == sum(dataset.info.reasons.values()) >= 90
    assert len(skipped(dataset)) == min(counts.skipped, 100)
    assert json.loads((dataset.path / "dataset.json").read_text())["modality"] == modality
    dataset.verify()


def test_a_full_disk_says_so_and_leaves_nothing_behind(folder: Path, small_disk: Path) -> None:
    with pytest.raises(DatasetError, match="no space is left"):
        prepare(FolderConfig(path=folder), PreparationConfig(size=512), small_disk)

    assert not list((small_disk / "datasets").glob("[!.]*"))
    assert not list((small_disk / "datasets").glob(".*-*"))


def test_what_is_not_selected_is_counted_with_the_rule_that_left_it_out(folder: Path) -> None:
    config = FolderConfig(path=folder, selection=Selection(orientation="coronal"))

    with pytest.raises(SourceError, match=r"NotSelected: it is .*not coronal \(selection.orientation\)"):
        prepare(config, PreparationConfig(size=32), folder.parent / "root")


def test_the_surroundings_of_a_ct_make_no_patients_alike(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for patient in range(4):
        pixels = body(patient)
        pixels[:4] = pixels[-4:] = pixels[:, :4] = pixels[:, -4:] = -32000
        write_dicom(tmp_path / "images" / f"{patient}.dcm", pixels, PatientID=str(patient))

    assert prepared(tmp_path / "images").info.patient_safe


def test_tasks_take_so_many_images_and_every_item_once_in_order() -> None:
    items = [Item(Path("a"), rows=range(40)), *[Item(Path(str(number))) for number in range(50)], Item(Path("b"))]

    tasks = list(_tasks(items))

    assert [item for task in tasks for item in task] == items
    assert [len(task) for task in tasks] == [1, 16, 16, 16, 3]


def test_pet_keeps_one_scale_though_its_files_carry_slopes_of_their_own(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    doses = (1.0, 1.0, 1.0, 3.0)
    for patient, (slope, dose) in enumerate(zip((2.0, 0.5, 4.0, 1.0), doses, strict=True)):
        stored = np.rint(dose * (body(patient) + 1000.0) / slope).astype(np.uint16)
        write_dicom(
            tmp_path / "files" / f"{patient}.dcm",
            stored,
            PatientID=f"p{patient}",
            StudyInstanceUID=f"2.25.{10 + patient}",
            SeriesInstanceUID=f"2.25.{20 + patient}",
            Modality="PT",
            RescaleSlope=slope,
        )

    dataset = prepare(FolderConfig(path=tmp_path / "files"), SMALL, tmp_path / "root")

    rows = all_rows(dataset)
    assert len({(row["scale_low"], row["scale_high"]) for row in rows}) == 1
    assert dataset.info.image.values.unit == "fraction of the dataset's range"
    levels = [float(split.stored(np.arange(len(split))).max()) for split in map(dataset.split, SPLITS)]
    assert max(levels) > 2 * min(levels)


def test_a_table_that_names_no_image_is_refused(folder: Path) -> None:
    (folder.parent / "table.csv").write_text("file,label\nelsewhere.dcm,benign\n")
    config = FolderConfig(path=folder, labels="table", table=folder.parent / "table.csv")

    with pytest.raises(SourceError, match="no row of the table"):
        prepare(config, SMALL, folder.parent / "root")


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


def test_where_files_name_no_patient_figures_say_so(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for study in range(6):
        uids = {"StudyInstanceUID": f"2.25.{10 + study}", "SeriesInstanceUID": f"2.25.{20 + study}"}
        write_dicom(tmp_path / "files" / f"{study}.dcm", body(study), PatientID="", **uids)

    info = prepare(FolderConfig(path=tmp_path / "files"), SMALL, tmp_path / "root").info

    assert not info.patient_safe
    assert "not patient-safe" in info.note


def test_a_damaged_dataset_is_found_and_a_missing_report_is_written_again(folder: Path) -> None:
    done = prepared(folder)
    report_file(done).unlink()

    again = prepared(folder)

    assert again.reused
    assert report_file(again).exists()
    shard = done.path / "images-00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match="damaged"):
        prepared(folder)
