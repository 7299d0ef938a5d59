"""Whole series from scanners: a regular brain, a tilted and uneven head, and a study of four."""

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from tests.data.built_series import assembled, one_stack, read_frames

from rayology.data.volumes.series import SeriesConfig
from rayology.data.volumes.stack import arrange


@pytest.mark.slow
def test_the_brain_is_one_regular_volume(brain_folder: Path) -> None:
    found = read_frames(brain_folder)

    made = one_stack(found)
    volume = assembled(found, made)

    assert volume.size == (384, 384, 274)
    assert volume.spacing_mm == pytest.approx((0.6667, 0.6667, 0.7), abs=1e-3)
    assert not made.mended
    numbers = [int(dcmread(frame.file, specific_tags=["InstanceNumber"]).InstanceNumber) for frame in made.frames]
    assert numbers == list(range(1, 385))  # this scanner counts as it should
    headers = [dcmread(made.frames[at].file, stop_before_pixels=True) for at in (0, 200, 383)]
    for at, header in zip((0, 200, 383), headers, strict=True):
        # DICOM PS3.3 equation C.7.6.2.1-1 written out, for the last pixel
        x, y = np.array(header.ImageOrientationPatient, np.float64).reshape(2, 3)
        between_rows, between_columns = (float(value) for value in header.PixelSpacing)
        last = np.array(header.ImagePositionPatient, np.float64) + x * between_columns * 273 + y * between_rows * 383
        np.testing.assert_allclose((volume.affine @ (at, 383, 273, 1))[:3], last, atol=1e-3)
        np.testing.assert_array_equal(volume.pixels[:, at], found[made.frames[at]].pixels)


@pytest.mark.slow
def test_the_head_ct_is_refused_for_its_tilt_and_its_distances(head_folder: Path) -> None:
    found = read_frames(head_folder)

    (error,) = arrange(list(found), SeriesConfig()).refused

    assert "vary from 1.08 to 7.00 mm" in str(error)
    assert "shear against their normal by 18.5 degrees" in str(error)
    assert len(error.files) == 28


@pytest.mark.slow
def test_the_head_ct_is_made_upright_and_even(head_folder: Path) -> None:
    found = read_frames(head_folder)

    (made,) = arrange(list(found), SeriesConfig(tilt="correct", irregular="resample")).stacks
    volume = assembled(found, made)

    assert volume.spacing_mm == pytest.approx((4.0, 0.488281, 0.488281), abs=0.01)
    # 144 mm along the normal; and what a tilt of 18.5 degrees shifts over them
    assert volume.size == (37, 512 + int(np.ceil(144.1 * np.tan(np.radians(18.5)) / 0.488281)), 512)
    directions = volume.affine[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-4)
    first = found[made.frames[0]]
    body = first.pixels[first.valid[None]]
    assert volume.pixels[0, 0][volume.valid[0]].mean() == pytest.approx(body.mean(), abs=5)


@pytest.mark.slow
def test_the_study_of_four_series_gives_four_volumes(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "mr_pgbm003_study" / "mr_pgbm003_4series_88.tar.xz") as opened:
        opened.extractall(tmp_path, filter="data")

    arranged = arrange(list(read_frames(tmp_path)), SeriesConfig())

    assert not arranged.refused
    assert Counter(made.size for made in arranged.stacks) == {(22, 320, 280): 4}
    for made in arranged.stacks:
        np.testing.assert_allclose(np.linalg.norm(made.affine[:3, 0]), 6.5, atol=1e-3)
