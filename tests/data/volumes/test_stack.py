"""Stacks of real DICOM files: the order of space, gaps, distances and tilt, refused or mended."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.data.built_series import (
    AXIAL,
    COLUMNS,
    CORONAL,
    OBLIQUE,
    ROWS,
    SAGITTAL,
    SPACING,
    WriteDicom,
    assembled,
    assert_shows_the_ramp,
    one_stack,
    read_frames,
    write_series,
)

from rayology.data.dicom.geometry import Geometry
from rayology.data.volumes.series import SeriesConfig
from rayology.data.volumes.stack import arrange
from rayology.data.volumes.volume import cut
from rayology.errors import SeriesError


@pytest.mark.parametrize("cosines", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_a_scrambled_series_becomes_a_volume_in_the_order_of_space(
    tmp_path: Path, write_dicom: WriteDicom, cosines: tuple[float, ...]
) -> None:
    write_series(write_dicom, tmp_path, np.arange(9) * 2.5, cosines=cosines)
    found = read_frames(tmp_path)

    made = one_stack(found)
    volume = assembled(found, made)

    assert volume.size == (9, ROWS, COLUMNS)
    assert volume.spacing_mm == pytest.approx((2.5, *SPACING))
    assert not made.mended
    assert volume.valid.all()
    assert_shows_the_ramp(volume)


def test_the_affine_leads_to_the_positions_in_the_files(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, np.arange(5) * 3.0, cosines=OBLIQUE)
    made = one_stack(read_frames(tmp_path))

    for number, frame in enumerate(made.frames):
        header = dcmread(frame.file)
        x, y = np.array(header.ImageOrientationPatient, np.float64).reshape(2, 3)
        row, column = 4, 3
        place = np.array(header.ImagePositionPatient, np.float64) + x * column * SPACING[1] + y * row * SPACING[0]
        np.testing.assert_allclose((made.affine @ (number, row, column, 1))[:3], place, atol=1e-6)


@pytest.mark.parametrize("cosines", [AXIAL, CORONAL, SAGITTAL, OBLIQUE])
def test_a_slice_of_the_volume_lies_where_its_file_says(
    tmp_path: Path, write_dicom: WriteDicom, cosines: tuple[float, ...]
) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4], cosines=cosines)
    found = read_frames(tmp_path)
    made = one_stack(found)

    volume = assembled(found, made)
    for number, frame in enumerate(made.frames):
        part = cut(volume, (number, 0, 0), (1, *volume.size[1:]))
        for field in fields(Geometry):
            said, lies = getattr(frame.geometry, field.name), getattr(part.geometry, field.name)
            np.testing.assert_allclose(lies, said, atol=1e-6)


def test_neither_file_names_nor_their_order_change_the_volume(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, np.arange(6) * 2.0, cosines=OBLIQUE)
    frames = list(read_frames(tmp_path))
    renamed = [replace(frame, file=Path(f"{5 - row}")) for row, frame in enumerate(frames)]

    one, other = one_stack(frames), one_stack(reversed(renamed))

    np.testing.assert_array_equal(one.affine, other.affine)
    assert [frame.digest for frame in one.frames] == [frame.digest for frame in other.frames]


def test_slices_at_45_degrees_are_sorted_whatever_way_rounding_turns_their_normals(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    half = np.sqrt(0.5)
    for row, height in enumerate(np.arange(8) * 2.0):
        wobble = 1e-7 * (-1) ** row
        cosines = (1.0, 0.0, 0.0, 0.0, half + wobble, half - wobble)
        write_series(write_dicom, tmp_path, [height], cosines=cosines)
    found = read_frames(tmp_path)

    assert len({np.sign(np.array(frame.geometry.normal)).tobytes() for frame in found}) == 2
    assert_shows_the_ramp(assembled(found, one_stack(found)))


def test_the_frames_of_one_file_are_sorted_by_their_own_positions(tmp_path: Path, write_dicom: WriteDicom) -> None:
    heights = [4.0, 0.0, 2.0]
    shared, own = Dataset(), [Dataset() for _ in heights]
    for name, keyword, value in [
        ("PixelMeasuresSequence", "PixelSpacing", list(SPACING)),
        ("PlaneOrientationSequence", "ImageOrientationPatient", list(AXIAL)),
    ]:
        setattr(shared, name, Sequence([Dataset()]))
        setattr(shared[name][0], keyword, value)
    for group, height in zip(own, heights, strict=True):
        group.PlanePositionSequence = Sequence([Dataset()])
        group.PlanePositionSequence[0].ImagePositionPatient = [0.0, 0.0, height]
    groups = {
        "SharedFunctionalGroupsSequence": Sequence([shared]),
        "PerFrameFunctionalGroupsSequence": Sequence(own),
    }
    pixels = np.repeat(np.array(heights, np.uint16), ROWS * COLUMNS).reshape(3, ROWS, COLUMNS)
    write_dicom(tmp_path / "many.dcm", pixels, **groups)
    found = read_frames(tmp_path)

    volume = assembled(found, one_stack(found))

    assert volume.pixels[0, :, 0, 0].tolist() == [0, 2, 4]
    np.testing.assert_allclose(volume.positions_mm(np.array([2, 0, 0])), [0, 0, 4], atol=1e-9)


def test_a_missing_slice_is_refused_with_its_position_and_the_files(tmp_path: Path, write_dicom: WriteDicom) -> None:
    files = write_series(write_dicom, tmp_path, [0, 2, 4, 6, 10, 12])

    with pytest.raises(SeriesError, match=r"6 slices: 1 more is missing between them, at 19\.00 mm; add") as caught:
        one_stack(read_frames(tmp_path))

    assert sorted(caught.value.files) == sorted(files)
    assert not any(file.name in str(caught.value) for file in files)


def test_a_missing_slice_is_filled_between_its_neighbours_and_invalid(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6, 10, 12])
    found = read_frames(tmp_path)

    volume = assembled(found, one_stack(found, SeriesConfig(missing="fill")))

    assert volume.size[0] == 7
    assert [bool(plane.all()) for plane in volume.valid] == [True, True, True, True, False, True, True]
    np.testing.assert_allclose(volume.pixels[:, 4], volume.pixels[:, 3:6:2].mean(1), rtol=1e-6)
    assert_shows_the_ramp(volume)


def test_slices_are_missing_even_where_most_gaps_are_wide(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 6, 10, 14])

    with pytest.raises(SeriesError, match="3 more are missing"):
        one_stack(read_frames(tmp_path))


def test_positions_rounded_to_a_tenth_are_regular(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, (np.arange(40) * 0.625).round(1).tolist())

    made = one_stack(read_frames(tmp_path))

    assert made.size[0] == 40
    assert float(np.linalg.norm(made.affine[:3, 0])) == pytest.approx(0.625, rel=1e-3)


def test_changing_distances_are_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6, 9, 12, 15])

    with pytest.raises(SeriesError, match=r"vary from 2\.00 to 3\.00 mm; set .*series\.irregular to resample"):
        one_stack(read_frames(tmp_path))


def test_changing_distances_are_resampled_at_the_median(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6, 9, 12], cosines=OBLIQUE)
    found = read_frames(tmp_path)

    made = one_stack(found, SeriesConfig(irregular="resample"))
    volume = assembled(found, made)

    assert volume.spacing_mm == pytest.approx((2.0, *SPACING))
    assert volume.size[0] == 7
    assert len(made.mended) == 1
    assert_shows_the_ramp(volume)


def test_a_wide_gap_among_changing_distances_is_missing(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6, 8, 10, 12, 20, 23])
    found = read_frames(tmp_path)

    with pytest.raises(
        SeriesError,
        match=r"set .*series\.irregular to resample and .*series\.missing to fill",
    ):
        one_stack(found, SeriesConfig(irregular="resample"))
    volume = assembled(found, one_stack(found, SeriesConfig(irregular="resample", missing="fill")))

    assert volume.spacing_mm[0] == pytest.approx(2.0)
    assert [bool(plane.any()) for plane in volume.valid] == [True] * 7 + [False] * 3 + [True] * 2


def test_slices_far_apart_are_no_stack_under_any_rules(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 9000.5])

    with pytest.raises(SeriesError, match=r"vary from 2\.00 to 8996\.50 mm; they are not one stack"):
        one_stack(read_frames(tmp_path), SeriesConfig(irregular="resample", missing="fill"))


def test_a_shift_far_beyond_the_size_of_a_slice_is_corrected_under_no_rules(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4], shear=(0, 50, 0))

    with pytest.raises(SeriesError, match=r"by 88\.9 degrees, far beyond their size"):
        one_stack(read_frames(tmp_path), SeriesConfig(tilt="correct"))


def test_a_near_copy_of_a_place_is_uneven_not_a_hundred_missing_slices(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 4.05, 6, 8])

    with pytest.raises(SeriesError, match=r"vary from 0\.05"):
        one_stack(read_frames(tmp_path))


@pytest.mark.parametrize("shear", [(0.0, np.tan(np.radians(18.5)), 0.0), (0.2, -0.1, 0.0)])
def test_a_tilted_series_is_refused_or_shifted_upright(
    tmp_path: Path, write_dicom: WriteDicom, shear: tuple[float, ...]
) -> None:
    write_series(write_dicom, tmp_path, np.arange(8) * 2.0, shear=shear, shape=(20, 18))
    found = read_frames(tmp_path)

    with pytest.raises(SeriesError, match=r"they shear against their normal by 1\d\.\d degrees; set .*series\.tilt"):
        one_stack(found)
    volume = assembled(found, one_stack(found, SeriesConfig(tilt="correct")))

    directions = volume.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    assert volume.valid.mean() > 0.4
    assert_shows_the_ramp(volume)


def test_a_tilt_that_is_corrected_loses_no_pixel(tmp_path: Path, write_dicom: WriteDicom) -> None:
    whole = 1.5  # the shift from slice to slice is three rows
    write_series(write_dicom, tmp_path, np.arange(6) * 2.0, shear=(0.0, whole / 2, 0.0))
    found = read_frames(tmp_path)

    volume = assembled(found, one_stack(found, SeriesConfig(tilt="correct")))

    assert volume.size == (6, ROWS + 5 * 3, COLUMNS)
    assert volume.valid.sum() == 6 * ROWS * COLUMNS
    read_values = np.sort(np.concatenate([instance.pixels.ravel() for instance in found.values()]))
    np.testing.assert_array_equal(np.sort(volume.pixels[0][volume.valid]), read_values)


def test_slices_that_wander_in_their_plane_are_refused_or_shifted(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for height, aside in [(2, 0.75), (4, -0.75), (6, -0.75), (8, 0.75)]:
        write_series(write_dicom, tmp_path, [height], shear=(aside / height, 0, 0))
    found = read_frames(tmp_path)

    with pytest.raises(SeriesError, match=r"they are shifted by up to 0\.75 mm in their plane; set .*series\.tilt"):
        one_stack(found)
    assert_shows_the_ramp(assembled(found, one_stack(found, SeriesConfig(tilt="correct"))))


def test_every_problem_of_a_series_is_told_at_once(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 8], shear=(0.3, 0, 0))

    with pytest.raises(SeriesError, match=r"missing between them.*; they shear"):
        one_stack(read_frames(tmp_path))


def test_a_single_slice_makes_no_volume(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0])

    with pytest.raises(SeriesError, match="a single slice makes no volume"):
        one_stack(read_frames(tmp_path))


def test_a_bad_series_stops_no_other(tmp_path: Path, write_dicom: WriteDicom) -> None:
    bad = write_series(write_dicom, tmp_path, [0, 2, 6], attributes={"SeriesInstanceUID": "2.25.10"})
    write_series(write_dicom, tmp_path, [0, 2, 4], attributes={"SeriesInstanceUID": "2.25.11"})
    mixed = write_series(write_dicom, tmp_path, [0, 2, 4], attributes={"SeriesInstanceUID": "2.25.12"})
    mixed += write_series(write_dicom, tmp_path, [0, 2], cosines=SAGITTAL, attributes={"SeriesInstanceUID": "2.25.12"})

    arranged = arrange(list(read_frames(tmp_path)), SeriesConfig())

    assert [each.size[0] for each in arranged.stacks] == [3]
    assert sorted(file for error in arranged.refused for file in error.files) == sorted([*bad, *mixed[3:]])


def test_studies_are_never_joined(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for study in ("2.25.20", "2.25.21"):
        write_series(write_dicom, tmp_path, [0, 2], attributes={"StudyInstanceUID": study})

    assert len(arrange(list(read_frames(tmp_path)), SeriesConfig()).stacks) == 2
