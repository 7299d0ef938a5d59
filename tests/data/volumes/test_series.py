"""Series of real DICOM files: copies, repeats and mixtures refused or set apart."""

import pickle
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, Literal

import numpy as np
import pytest
from pydicom import dcmread
from tests.data.built_series import CORONAL, WriteDicom, one_stack, read_frames, write_series

from rayology.data.dicom.facts import Facts
from rayology.data.dicom.geometry import Geometry
from rayology.data.volumes.series import Frame, SeriesConfig, split
from rayology.errors import SeriesError


def test_copies_are_refused_or_dropped(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6])
    write_series(write_dicom, tmp_path, [4])
    found = read_frames(tmp_path)

    with pytest.raises(SeriesError, match=r"1 of 5 slices repeat another with all its pixels, at 15\.00 mm") as caught:
        one_stack(found)
    made = one_stack(found, SeriesConfig(duplicates="drop"))

    assert caught.value.files == (tmp_path / "004.dcm",)
    assert len(made.frames) == 4
    assert caught.value.files[0] not in {frame.file for frame in made.frames}


@pytest.mark.parametrize("duplicates", ["refuse", "drop"])
def test_other_pixels_at_one_position_are_refused_where_nothing_tells_them_apart(
    tmp_path: Path, write_dicom: WriteDicom, duplicates: Literal["refuse", "drop"]
) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6])
    write_series(write_dicom, tmp_path, [2], attributes={"RescaleIntercept": 5.0})

    with pytest.raises(
        SeriesError, match=r"1 of 4 positions hold several slices, at 13\.00 mm; none of .* tells"
    ) as caught:
        one_stack(read_frames(tmp_path), SeriesConfig(duplicates=duplicates))

    assert len(caught.value.files) == 2


def test_pixels_that_were_not_read_count_as_different(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 2, 4])
    frames = [replace(frame, digest="") for frame in read_frames(tmp_path)]

    with pytest.raises(SeriesError, match="several slices"):
        split(frames, SeriesConfig(duplicates="drop"))


@pytest.mark.parametrize("keyword", ["TemporalPositionIdentifier", "EchoTime", "AcquisitionNumber", "DiffusionBValue"])
def test_repeats_become_volumes_of_their_own(tmp_path: Path, write_dicom: WriteDicom, keyword: str) -> None:
    for value in (3, 1, 2):  # of the same pixels, and yet no copies
        write_series(write_dicom, tmp_path, [0, 2, 4], attributes={keyword: value})
    frames = list(read_frames(tmp_path))

    parts = split(frames, SeriesConfig())

    assert [len(part) for part in parts] == [3, 3, 3]
    for value, part in zip((1, 2, 3), parts, strict=True):
        assert {dcmread(frame.file)[keyword].value for frame in part} == {value}
    with pytest.raises(SeriesError, match=r"3 of 3 positions .* set preparation\.cut\.series\.repeats to split"):
        split(frames, SeriesConfig(repeats="refuse"))


TOLD: dict[str, tuple[object, ...]] = {
    "ImageType": (["DERIVED", "PRIMARY", "W"], ["DERIVED", "PRIMARY", "F"], ["DERIVED", "PRIMARY", "IP"]),
    "DiffusionGradientOrientation": ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], None),
    "ConvolutionKernel": ("B30f", "B70f", ["B30f", "3"]),
    "FilterType": ("STANDARD", "BONE", None),
    "KVP": ("80", "140", "100"),
    "FlipAngle": ("5", "15", "30"),
    "RepetitionTime": ("500", "2000", "3000"),
    "SliceThickness": ("1", "3", "5"),
    "InversionTime": ("900", "2500", None),
    "FrameReferenceTime": ("0", "30000", "90000"),
    "NominalPercentageOfCardiacPhase": (10.0, 50.0, 75.0),
    "AcquisitionTime": ("101010", "101040", "235959.5"),
    "AcquisitionDateTime": ("20200101101010", "20200101101040", "20200102101010.5"),
    "ContentTime": ("101010", "101040", "235959.5"),
}


@pytest.mark.parametrize("keyword", TOLD)
def test_what_the_header_says_of_a_kind_a_direction_a_kernel_or_a_time_tells_repeats_apart(
    tmp_path: Path, write_dicom: WriteDicom, keyword: str
) -> None:
    for value in TOLD[keyword]:
        write_series(write_dicom, tmp_path, [0, 2, 4], attributes={keyword: value})

    parts = split(list(read_frames(tmp_path)), SeriesConfig())

    assert [len(part) for part in parts] == [3, 3, 3]
    for part in parts:
        assert len({str(dcmread(frame.file).get(keyword)) for frame in part}) == 1


def placed(height: float, **told: Any) -> Frame:  # noqa: ANN401 # numbers and tuples of them
    corner = (0.0, 0.0, height)
    place = Geometry((1.0, 1.0), (0.0, 0.0, 1.0), height, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), corner)
    return Frame(0, "study", "series", (1, 8, 8), place, facts=Facts(**told), digest=f"{height} {told}")


def test_one_of_the_indices_of_a_file_tells_repeats_apart_and_the_one_of_slices_does_not() -> None:
    frames = [placed(height, indices=(1, 1 + height, kind)) for height in range(5) for kind in (1, 2)]

    parts = split(frames, SeriesConfig())

    assert [{frame.facts.indices[2] for frame in part} for part in parts] == [{1}, {2}]


def test_repeats_that_follow_each_other_in_time_are_told_apart_although_each_slice_has_a_time_of_its_own() -> None:
    frames = [placed(height, acquisition_time=10.0 * turn + height) for turn in (2, 0, 1) for height in range(5)]

    parts = split(frames, SeriesConfig())

    assert [[frame.facts.acquisition_time for frame in part] for part in parts] == [
        [10.0 * turn + height for height in range(5)] for turn in range(3)
    ]


def test_phases_are_in_turn_at_each_position_although_hearts_beat_unevenly() -> None:
    frames = [placed(height, trigger_time_ms=phase * (40.0 + height)) for phase in range(9) for height in range(5)]

    assert [len(part) for part in split(frames, SeriesConfig())] == 9 * [5]


@pytest.mark.parametrize("missing", [False, True])
def test_repeats_that_overlap_in_time_are_refused_and_what_differs_is_named(*, missing: bool) -> None:
    frames = [placed(height, content_time=2.0 * height + turn) for turn in (0, 1) for height in range(5)]

    with pytest.raises(SeriesError, match="; content time differ, but not so that each repeat makes one volume"):
        split(frames[missing:], SeriesConfig())


def test_a_header_that_says_much_is_searched_at_once() -> None:
    random = np.random.default_rng(0)
    frames = [
        placed(height, indices=tuple(random.integers(0, 2, 40).tolist()), trigger_time_ms=0.0)
        for height in range(100)
        for _ in range(5)
    ]

    start = process_time()
    with pytest.raises(SeriesError, match="hold several slices"):
        split(frames, SeriesConfig())

    assert process_time() - start < 5


def test_two_facts_together_tell_repeats_apart(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for echo in (10, 90):
        for time in (1, 2):
            write_series(
                write_dicom, tmp_path, [0, 2], attributes={"EchoTime": echo, "TemporalPositionIdentifier": time}
            )

    parts = split(list(read_frames(tmp_path)), SeriesConfig())

    assert [len(part) for part in parts] == [2, 2, 2, 2]


def test_an_acquisition_number_that_counts_slices_tells_no_repeats_apart(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    for number, height in enumerate([0, 2, 4, 2]):
        write_series(write_dicom, tmp_path, [height], attributes={"AcquisitionNumber": number})

    with pytest.raises(SeriesError, match="acquisition differ, but not so that each repeat makes one volume"):
        split(list(read_frames(tmp_path)), SeriesConfig())


def test_an_acquisition_number_that_counts_slices_splits_no_series(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number, height in enumerate([0, 2, 4]):
        write_series(write_dicom, tmp_path, [height], attributes={"AcquisitionNumber": number})

    assert len(one_stack(read_frames(tmp_path)).frames) == 3


MIXTURES: dict[str, dict[str, Any]] = {
    "orientation": {"cosines": CORONAL},
    "size": {"shape": (8, 8)},
    "pixel spacing": {"attributes": {"PixelSpacing": [1.0, 1.0]}},
    "frame of reference": {"attributes": {"FrameOfReferenceUID": "2.25.9"}},
}


@pytest.mark.parametrize("what", MIXTURES)
def test_a_mixed_series_is_refused_or_split(tmp_path: Path, write_dicom: WriteDicom, what: str) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4, 6])
    few = write_series(write_dicom, tmp_path, [1, 3], **MIXTURES[what])
    frames = list(read_frames(tmp_path))

    with pytest.raises(SeriesError, match=f"slices differ in {what}: 2 kinds, of 4, 2 slices") as caught:
        split(frames, SeriesConfig())
    parts = split(frames, SeriesConfig(mixed="split"))

    assert list(caught.value.files) == sorted(few)
    assert [len(part) for part in parts] == [4, 2]


def test_a_series_of_countless_kinds_is_refused_at_once() -> None:
    place = Geometry((1, 1), (0, 0, 1), 0, (1, 0, 0, 0, 1, 0), (0, 0, 0))
    frames = [Frame(rows, "study", "series", (1, rows, 8), place) for rows in range(1, 300)]

    with pytest.raises(SeriesError, match="299 slices are of more than 100 kinds"):
        split(frames, SeriesConfig(mixed="split"))


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_a_place_are_refused(tmp_path: Path, write_dicom: WriteDicom, keyword: str) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4])
    (bad,) = write_series(write_dicom, tmp_path, [6], attributes={keyword: None})

    with pytest.raises(SeriesError, match="1 of 4 slices do not say where they lie") as caught:
        split(list(read_frames(tmp_path)), SeriesConfig())

    assert caught.value.files == (bad,)


@pytest.mark.parametrize(
    "damage", [{"ImagePositionPatient": [0.0, 0.0, 1e300]}, {"PixelSpacing": [1e-12, 1.0]}], ids=["far", "small"]
)
def test_numbers_that_only_damage_explains_are_no_place(
    tmp_path: Path, write_dicom: WriteDicom, damage: dict[str, object]
) -> None:
    write_series(write_dicom, tmp_path, [0, 2, 4])
    write_series(write_dicom, tmp_path, [6], attributes=damage)

    with pytest.raises(SeriesError, match="1 of 4 slices do not say where they lie"):
        split(list(read_frames(tmp_path)), SeriesConfig())


def test_cosines_at_no_right_angle_are_no_place(tmp_path: Path, write_dicom: WriteDicom) -> None:
    write_series(write_dicom, tmp_path, [0, 2], cosines=(1, 0, 0, 0.1, 0.99, 0))

    with pytest.raises(SeriesError, match="2 of 2 slices do not say where they lie"):
        split(list(read_frames(tmp_path)), SeriesConfig())


def test_the_files_of_an_error_survive_the_way_between_processes(tmp_path: Path) -> None:
    error = SeriesError("2 slices", [tmp_path / "a.dcm"])

    there = pickle.loads(pickle.dumps(error))  # noqa: S301 # our own bytes

    assert (str(there), there.files) == ("2 slices", error.files)


def test_a_frame_does_not_show_its_file() -> None:
    frame = Frame(0, "study", "series", (1, 4, 4), Geometry(), file=Path("jane.dcm"))

    assert "jane" not in repr(frame)
