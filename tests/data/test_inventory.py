"""What a source turns out to hold: what is kept, what is counted out and why, and what is refused."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage
from tests.data.bodies import SMALL, WriteDicom, all_rows, body, prepared, skipped

from rayology.data import FolderConfig, PreparationConfig
from rayology.data.dicom.selection import Selection
from rayology.data.prepare import prepare
from rayology.data.splits import SPLITS
from rayology.errors import SourceError


def test_a_file_outside_the_folders_of_classes_is_skipped(folder: Path, write_dicom: WriteDicom) -> None:
    write_dicom(folder / "stray.dcm", body(9))

    info = prepare(FolderConfig(path=folder, labels="folder"), SMALL, folder.parent / "root").info

    assert (info.counts.images, info.counts.skipped) == (12, 1)
    assert ["has no class while others have" in reason for reason in info.reasons] == [True]


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


def test_folders_of_one_patient_each_are_no_classes(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number, name in enumerate(["DoeJane", "DoeJohn", "RoeJane", "RoeJane"]):
        write_dicom(tmp_path / "images" / name / f"{number}.dcm", body(number), PatientID=f"{number}")

    with pytest.raises(SourceError, match=r"2 of 3 classes hold a single patient.*labels: none") as raised:
        prepare(FolderConfig(path=tmp_path / "images", labels="folder"), SMALL, tmp_path / "root")

    assert "Doe" not in str(raised.value)
    assert [file for file in (tmp_path / "root" / "datasets").iterdir() if file.is_dir()] == []


def test_a_source_without_an_image_says_what_it_found(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "images" / f"{number}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.txt").write_text("text" * 100)

    with pytest.raises(SourceError, match=r"none of 3 files gives an image; most often \(3\): NotDicom: has no DICOM"):
        prepared(tmp_path / "images")


def test_mixed_modalities_are_counted_and_the_setting_is_named(folder: Path, write_dicom: WriteDicom) -> None:
    write_dicom(folder / "mr.dcm", body(0), Modality="MR")

    with pytest.raises(SourceError, match=r"several modalities \(CT 12, MR 1\); set preparation.modality"):
        prepared(folder)
    assert prepared(folder, modality="CT").info.counts.other_modality == 1
    with pytest.raises(SourceError, match="no image of the modality asked for, but CT 12, MR 1"):
        prepared(folder, modality="PT")


def test_scouts_mosaics_and_pages_are_left_out_and_counted_until_they_are_asked_for(
    folder: Path, write_dicom: WriteDicom
) -> None:
    write_dicom(folder / "scout.dcm", body(20), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_dicom(folder / "mosaic.dcm", body(21), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    write_dicom(folder / "page.dcm", body(22), BurnedInAnnotation="YES")

    dataset = prepared(folder)
    config = FolderConfig(path=folder, selection=Selection(include=("localizers", "pages")))
    asked = prepare(config, SMALL, folder.parent / "root")

    assert (dataset.info.counts.images, dataset.info.counts.skipped) == (12, 3)
    assert sorted(reason.split(";")[0] for reason in dataset.info.reasons) == [
        "NotSelected: has text in its pixels by its Burned In Annotation",
        "NotSelected: is a localizer",
        "NotSelected: is a mosaic of slices",
    ]
    assert (asked.info.counts.images, asked.info.counts.skipped) == (14, 1)


def test_a_file_of_which_frames_are_left_out_is_not_skipped_but_its_images_say_so(
    folder: Path, write_dicom: WriteDicom
) -> None:
    frames = []
    for kind in ("LOCALIZER", "AXIAL"):
        frame_type, group = Dataset(), Dataset()
        frame_type.FrameType = ["ORIGINAL", "PRIMARY", kind]
        group.CTImageFrameTypeSequence = Sequence([frame_type])
        frames.append(group)
    pixels = np.stack([body(30), body(31), body(32)])  # of which the last has no group
    write_dicom(folder / "both.dcm", pixels, PerFrameFunctionalGroupsSequence=Sequence(frames))

    info = prepared(folder).info

    assert (info.counts.images, info.counts.skipped, info.reasons) == (14, 0, {})
    assert info.changed == {
        "other frames of the file were left out: is a localizer; to keep it, name localizers in selection.include": 2
    }


def test_a_secondary_capture_is_left_out_next_to_images_of_its_study_alone(
    folder: Path, write_dicom: WriteDicom
) -> None:
    capture = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "CT"}
    write_dicom(folder / "screen.dcm", body(40), **capture, PatientID="Doe0")
    write_dicom(folder / "converted.dcm", body(41), **capture, StudyInstanceUID="2.25.77", PatientID="Doe9")

    info = prepared(folder).info
    config = FolderConfig(path=folder, selection=Selection(include=("pages",)))

    assert info.counts.images == 13
    assert ["is a secondary capture in a study" in reason for reason in info.reasons] == [True]
    assert prepare(config, SMALL, folder.parent / "root").info.counts.images == 14


@pytest.mark.parametrize("kind", ["LOCALIZER", "MOSAIC"])
def test_a_secondary_capture_is_left_out_next_to_originals_that_are_left_out_too(
    folder: Path, write_dicom: WriteDicom, kind: str
) -> None:
    write_dicom(folder / "scout.dcm", body(40), ImageType=["ORIGINAL", "PRIMARY", kind], PatientID="Doe9")
    capture = {"SOPClassUID": SecondaryCaptureImageStorage, "PatientID": "Doe9"}
    write_dicom(folder / "screen.dcm", body(41), **capture)
    write_dicom(folder / "page.dcm", body(42), **capture | {"PatientID": "Doe10"}, BurnedInAnnotation="YES")
    write_dicom(folder / "converted.dcm", body(43), **capture | {"PatientID": "Doe10"})

    info = prepared(folder).info

    assert (info.counts.images, info.counts.skipped) == (13, 3)
    assert sum("is a secondary capture in a study" in reason for reason in info.reasons) == 1


def test_a_copy_of_an_instance_counts_once(folder: Path) -> None:
    (folder / "copy.dcm").write_bytes((folder / "a" / "0-0.dcm").read_bytes())

    counts = prepared(folder).info.counts

    assert (counts.images, counts.duplicates) == (12, 1)


def test_colour_among_images_in_hounsfield_units_is_skipped(folder: Path, write_dicom: WriteDicom) -> None:
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
    assert ["is in colour, so its values are not those" in reason for reason in info.reasons] == [True]


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


def test_what_is_not_selected_is_counted_with_the_rule_that_left_it_out(folder: Path) -> None:
    config = FolderConfig(path=folder, selection=Selection(orientation="coronal"))

    with pytest.raises(SourceError, match=r"NotSelected: it is .*not coronal \(selection.orientation\)"):
        prepare(config, PreparationConfig(size=32), folder.parent / "root")


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
