"""Where a frame lies, as its header says it."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rayology.data.dicom.geometry import Geometry, geometry


def header(cosines: list[float] | None = None, corner: list[float] | None = None) -> Dataset:
    dataset = Dataset()
    if cosines is not None:
        dataset.ImageOrientationPatient = cosines
    if corner is not None:
        dataset.ImagePositionPatient = corner
    return dataset


def test_cosines_and_corner_stand_as_in_the_file() -> None:
    placed = geometry(header([0, 1, 0, 0, 0, -1], [1, 2, 3]), 0)

    assert placed.cosines == (0, 1, 0, 0, 0, -1)
    assert placed.corner_mm == (1, 2, 3)
    assert placed.normal == (1, 0, 0)
    assert placed.position_mm == 1


@pytest.mark.parametrize(
    "cosines", [[1, 0, 0, 0.1, 0.995, 0], [2, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 1, float("nan")]]
)
def test_cosines_that_are_no_unit_vectors_at_a_right_angle_are_none(cosines: list[float]) -> None:
    dataset = Dataset()
    dataset.add_new("ImageOrientationPatient", "FD", cosines)

    assert geometry(dataset, 0).cosines is None


def test_cosines_rounded_to_three_digits_are_some() -> None:
    angle = np.radians(33)
    rounded = np.round([np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0], 3).tolist()

    assert geometry(header(rounded), 0).cosines == tuple(rounded)


def test_a_header_without_a_place_gives_none() -> None:
    assert geometry(header(), 0) == Geometry()


def test_each_frame_of_many_has_its_own_corner() -> None:
    dataset = header()
    dataset.NumberOfFrames = 2
    dataset.PerFrameFunctionalGroupsSequence = Sequence([Dataset(), Dataset()])
    for group, height in zip(dataset.PerFrameFunctionalGroupsSequence, (3.0, 5.0), strict=True):
        group.PlanePositionSequence = Sequence([header(corner=[0, 0, height])])

    assert [geometry(dataset, frame).corner_mm for frame in (0, 1)] == [(0, 0, 3), (0, 0, 5)]


def test_a_real_slice_says_where_it_lies() -> None:
    path = get_testdata_file("CT_small.dcm", download=False)
    dataset = dcmread(Path(str(path)))

    assert geometry(dataset, 0).corner_mm == tuple(float(value) for value in dataset.ImagePositionPatient)
