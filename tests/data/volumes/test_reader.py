"""Folders of files into volumes: order, gaps, copies and mixtures are right or refused."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from syntaxes import written
from tests.data.built_series import AXIAL, CORONAL, OBLIQUE, assert_shows_the_ramp, write_series

from rayology.data.dicom.selection import Bounds, Selection
from rayology.data.volumes import read_volumes
from rayology.data.volumes.series import SeriesConfig

WriteDicom = Callable[..., Path]
HEIGHTS = np.arange(6) * 2.0


@pytest.mark.parametrize("cosines", [AXIAL, CORONAL, OBLIQUE])
def test_scrambled_files_make_a_volume_in_the_order_of_space(
    tmp_path: Path, write_dicom: WriteDicom, cosines: tuple[float, ...]
) -> None:
    files = write_series(write_dicom, tmp_path, HEIGHTS, cosines=cosines)

    found = read_volumes(files)

    (volume,) = found.volumes
    assert volume.size[0] == 6
    assert_shows_the_ramp(volume)
    assert not found.refused


def test_a_missing_slice_is_noticed_and_says_where(tmp_path: Path, write_dicom: WriteDicom) -> None:
    files = write_series(write_dicom, tmp_path, np.delete(HEIGHTS, 3))

    refused = read_volumes(files)
    filled = read_volumes(files, SeriesConfig(missing="fill"))

    assert not refused.volumes
    assert "missing" in str(refused.refused[0])
    assert set(refused.refused[0].files) <= set(files)
    (volume,) = filled.volumes
    assert volume.size[0] == 6
    assert (~volume.valid).any()
    assert filled.mended[0]
    assert_shows_the_ramp(volume)


def test_a_copy_of_a_slice_is_refused_or_dropped(tmp_path: Path, write_dicom: WriteDicom) -> None:
    files = write_series(write_dicom, tmp_path, HEIGHTS)
    files += write_series(write_dicom, tmp_path / "again", HEIGHTS[2:3])

    assert not read_volumes(files).volumes
    (volume,) = read_volumes(files, SeriesConfig(duplicates="drop")).volumes
    assert volume.size[0] == 6


def test_two_orientations_are_refused_or_made_two_volumes(tmp_path: Path, write_dicom: WriteDicom) -> None:
    files = write_series(write_dicom, tmp_path / "a", HEIGHTS)
    files += write_series(write_dicom, tmp_path / "b", HEIGHTS, cosines=CORONAL)

    assert not read_volumes(files).volumes
    assert len(read_volumes(files, SeriesConfig(mixed="split")).volumes) == 2


def test_only_what_is_selected_is_read_and_the_rest_is_told(tmp_path: Path, write_dicom: WriteDicom) -> None:
    files = write_series(write_dicom, tmp_path / "a", HEIGHTS, attributes={"SliceThickness": 2})
    thick = {"SliceThickness": 9, "SeriesInstanceUID": "2.25.77"}
    files += write_series(write_dicom, tmp_path / "b", HEIGHTS, attributes=thick)
    (tmp_path / "notes.txt").write_text("no image")

    found = read_volumes(
        [*files, tmp_path / "notes.txt"], selection=Selection(ranges={"slice_thickness_mm": Bounds(high=5)})
    )

    assert len(found.volumes) == 1
    assert sorted(type(error).__name__ for _, error in found.skipped) == ["NotDicom", *["NotSelected"] * 6]


@pytest.mark.slow
def test_the_brain_is_one_volume_and_the_tilted_head_is_refused_until_it_may_be_mended(
    brain_folder: Path, head_folder: Path
) -> None:
    brain = read_volumes(path for path in brain_folder.rglob("*") if path.is_file())
    files = [path for path in head_folder.rglob("*") if path.is_file()]
    mended = read_volumes(files, SeriesConfig(tilt="correct", irregular="resample"))

    assert [volume.size for volume in brain.volumes] == [(384, 384, 274)]
    assert len(read_volumes(files).refused) == 1
    assert len(mended.volumes) == 1


def test_a_file_that_breaks_off_gives_no_shorter_volume(tmp_path: Path) -> None:
    place = {"PerFrameFunctionalGroupsSequence": Sequence([_place(2.0 * number) for number in range(8)])}
    whole = written(np.arange(64, dtype=np.uint16).reshape(8, 8), "JPEG-LS", frames=8, attributes=place)
    dataset = dcmread(BytesIO(whole))
    five = list(generate_frames(dataset.PixelData, number_of_frames=8))[:5]
    dataset.PixelData = encapsulate(five)
    dataset.save_as(tmp_path / "a.dcm")

    found = read_volumes([tmp_path / "a.dcm"])

    assert not found.volumes
    assert "5 of 8 frames" in str(found.skipped[0][1])


def _place(height: float) -> Dataset:
    position, group = Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, height]
    group.PlanePositionSequence = Sequence([position])
    return group
