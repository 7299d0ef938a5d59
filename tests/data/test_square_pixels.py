"""Slices have square pixels, whatever the distance of rows and of columns in their files."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.bodies import WriteDicom, all_rows, prepared

from rayology.data import NiftiConfig, PreparationConfig
from rayology.data.dicom import read
from rayology.data.prepare import prepare
from rayology.imaging import conform, conform_mask, conformed_spacing

SQUARE = "pixels became square"
OBLONG = [
    ({"PixelSpacing": [0.5, 1.0]}, (0.5, 1.0)),
    ({"ImagerPixelSpacing": [0.5, 1.0]}, (0.5, 1.0)),
    ({"NominalScannedPixelSpacing": [0.5, 1.0]}, (0.5, 1.0)),
    ({"PixelSpacing": [0, 0], "PixelAspectRatio": [1, 2]}, None),
    ({"PixelAspectRatio": [1, 2]}, None),
]


def disc(height_mm: float, width_mm: float) -> np.ndarray:
    """Draw a round body of 20 mm in a field of 32 x 32 mm."""
    rows, columns = np.mgrid[: int(32 / height_mm), : int(32 / width_mm)]
    inside = np.hypot((rows + 0.5) * height_mm - 16, (columns + 0.5) * width_mm - 16) < 10
    return np.where(inside, 600, 0).astype(np.int16)


def extent(shown: np.ndarray) -> tuple[int, int]:
    return int(shown.any(1).sum()), int(shown.any(0).sum())


@pytest.mark.parametrize(("attributes", "spacing_mm"), OBLONG)
def test_a_round_body_stays_round_and_the_spacing_is_that_of_its_pixels(
    tmp_path: Path, write_dicom: WriteDicom, attributes: dict[str, object], spacing_mm: tuple[float, float] | None
) -> None:
    for patient in range(6):
        noise = np.random.default_rng(patient).integers(1, 4, (8, 4)).repeat(8, 0).repeat(8, 1)
        pixels = (disc(0.5, 1.0) * noise).astype(np.int16)
        whose = {"PatientID": f"{patient}", "SeriesInstanceUID": f"2.25.{patient}", "Modality": "MR"}
        write_dicom(tmp_path / "images" / f"{patient}.dcm", pixels, **(whose | attributes))

    (instance,) = read(tmp_path / "images" / "0.dcm")
    data = prepared(tmp_path / "images", size=32)

    assert (instance.geometry.spacing_mm, instance.geometry.aspect) == (spacing_mm, 0.5)
    assert extent(data.split("train").stored(np.arange(1))[0, 0] > 0) == (20, 20)
    assert data.info.changed == {SQUARE: 6}
    assert all(row["spacing_mm"] == ([1.0, 1.0] if spacing_mm else None) for row in all_rows(data))
    assert set(data.info.found["rows x columns"]) == {"64 x 32"}


@pytest.mark.parametrize(
    "attributes",
    [{"PixelSpacing": [0.488281, 0.48828]}, {"PixelAspectRatio": [1, 1]}, {"PixelAspectRatio": [0, 1]}, {}],
)
def test_pixels_that_are_square_but_for_rounding_are_left_alone(
    tmp_path: Path, write_dicom: WriteDicom, attributes: dict[str, object]
) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", disc(1, 1), **attributes))

    assert instance.geometry.aspect == 1.0


def test_spacing_counts_before_the_ratio_of_pixels(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", disc(1, 1), PixelSpacing=[2, 1], PixelAspectRatio=[1, 3]))

    assert instance.geometry.aspect == 2.0


@pytest.mark.parametrize(("height", "width"), [(0.5, 1.0), (1.0, 0.5), (4.0, 1.0)])
def test_masks_become_square_with_their_image(height: float, width: float) -> None:
    body = disc(height, width)

    mask = conform_mask((body > 0).astype(np.uint8), (32, 32), aspect=height / width)

    np.testing.assert_array_equal(
        mask > 0, conform(body[None] / np.float32(600), (32, 32), fill=0, aspect=height / width)[0] >= 0.5
    )
    rows, columns = extent(mask > 0)
    assert abs(rows - columns) <= max(height, width)
    assert conformed_spacing((height, width), body.shape, (32, 32), aspect=height / width) == pytest.approx((1.0, 1.0))


def test_slices_across_a_volume_of_thick_slices_are_square(tmp_path: Path) -> None:
    rows, columns, slices = np.mgrid[:32, :32, :8]
    inside = np.hypot(np.hypot(rows - 15.5, columns - 15.5), 4 * slices - 14.0) < 12
    (tmp_path / "images").mkdir()
    for patient in range(4):
        ball = (inside * np.random.default_rng(patient).integers(300, 900, inside.shape)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(ball, np.diag([1.0, 1, 4, 1])), tmp_path / "images" / f"{patient}.nii.gz")
    source = NiftiConfig(path=str(tmp_path / "images"), plane="coronal", modality="MR")

    data = prepare(source, PreparationConfig(size=32, min_foreground=0.2), tmp_path / "root")

    assert set(data.info.changed) == {SQUARE}
    assert all(row["spacing_mm"] == pytest.approx([1.0, 1.0]) for row in all_rows(data))
