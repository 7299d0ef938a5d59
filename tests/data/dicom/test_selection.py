"""What rules choose, and that no reason tells what a file says."""

from dataclasses import fields

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rayology.config import validated
from rayology.data.dicom.facts import Facts, description, facts
from rayology.data.dicom.geometry import Geometry
from rayology.data.dicom.selection import Bounds, Selection, orientation, selected
from rayology.errors import ConfigError


def tilted(degrees: float) -> Geometry:
    """Return the place of a slice tilted from axial towards coronal."""
    angle = np.radians(degrees)
    return Geometry(normal=(0.0, float(np.sin(angle)), float(np.cos(angle))))


def test_no_rules_choose_everything() -> None:
    assert selected(Facts(), Selection()) == ""


def test_a_modality_is_chosen() -> None:
    rules = Selection(modality="MR")

    assert selected(Facts(), rules, modality="MR") == ""
    assert selected(Facts(), rules, modality="CT") == "its modality is not MR (selection.modality)"


@pytest.mark.parametrize(("text", "is_chosen"), [("Ax T1 post", True), ("AX t1", True), ("Ax T2", False), ("", False)])
def test_a_description_is_matched_in_either_case(text: str, *, is_chosen: bool) -> None:
    assert (selected(Facts(), Selection(description=r"\bt1\b"), description=text) == "") is is_chosen


def test_a_description_is_told_nowhere() -> None:
    reason = selected(Facts(), Selection(description="T1"), description="Jane Doe T2")

    assert reason == "its series' description does not match selection.description"
    assert "description" not in {field.name for field in fields(Facts)}


@pytest.mark.parametrize(
    ("geometry", "plane"),
    [
        (tilted(0), "axial"),
        (tilted(24), "axial"),
        (tilted(26), "oblique"),
        (tilted(64), "oblique"),
        (tilted(66), "coronal"),
        (Geometry(normal=(1.0, 0.0, 0.0)), "sagittal"),
        (Geometry(normal=(-1.0, 0.0, 0.0)), "sagittal"),
        (Geometry(), ""),
    ],
)
def test_a_plane_is_oblique_beyond_the_tolerance(geometry: Geometry, plane: str) -> None:
    assert orientation(geometry, tolerance_deg=25) == plane


def test_an_orientation_is_chosen() -> None:
    rules = Selection(orientation="axial", tolerance_deg=10)

    assert selected(Facts(), rules, geometry=tilted(5)) == ""
    assert selected(Facts(), rules, geometry=tilted(90)) == "it is coronal, not axial (selection.orientation)"
    assert "of no known orientation" in selected(Facts(), rules)


def test_numbers_are_chosen_by_range_with_both_ends() -> None:
    rules = Selection(ranges={"echo_time_ms": Bounds(low=80, high=100), "rows": Bounds(high=512)})

    assert selected(Facts(echo_time_ms=80, rows=512), rules) == ""
    assert selected(Facts(echo_time_ms=79, rows=512), rules) == (
        "its echo_time_ms lies outside 80 to 100 (selection.ranges)"
    )
    assert selected(Facts(rows=512), rules) == "it does not say its echo_time_ms (selection.ranges)"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"description": "("}, r"selection: description: '\(' is not a regular expression"),
        ({"ranges": {"echo": {"low": 1}}}, "selection: ranges: 'echo' is not a number of a header; write one of: rows"),
        ({"ranges": {"rows": {"low": 2, "high": 1}}}, "low 2 must not lie above high 1"),
        ({"tolerance_deg": 60}, "less than or equal to 45"),
    ],
)
def test_wrong_rules_are_refused(rules: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(Selection, rules, where="selection")


def test_rules_survive_their_own_json() -> None:
    rules = Selection(modality="MR", ranges={"rows": Bounds(high=512)})

    assert Selection.model_validate(rules.model_dump(mode="json")) == rules


def test_facts_of_a_single_frame() -> None:
    dataset = Dataset()
    dataset.Rows, dataset.SliceThickness, dataset.EchoTime = 320, "5", "92"
    dataset.KVP, dataset.AcquisitionNumber, dataset.DiffusionBValue = "", "3", 1000.0
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert facts(dataset, 0) == Facts(
        rows=320, slice_thickness_mm=5, echo_time_ms=92, acquisition=3, b_value=1000, is_localizer=True
    )


def test_facts_of_many_frames_come_from_their_groups() -> None:
    shared, own = Dataset(), [Dataset(), Dataset()]
    shared.PixelMeasuresSequence = Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].SliceThickness = "2.5"
    for group, echo, index in zip(own, (10.0, 90.0), (1, 2), strict=True):
        group.MREchoSequence = Sequence([Dataset()])
        group.MREchoSequence[0].EffectiveEchoTime = echo
        group.FrameContentSequence = Sequence([Dataset()])
        group.FrameContentSequence[0].TemporalPositionIndex = index
    dataset = Dataset()
    dataset.NumberOfFrames = 2
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(own)

    assert facts(dataset, 1) == Facts(slice_thickness_mm=2.5, echo_time_ms=90, temporal_position=2)


def test_a_header_that_says_nothing_gives_no_facts() -> None:
    dataset = Dataset()
    dataset.ImageType = "ORIGINAL"
    dataset.add_new("EchoTime", "FD", float("nan"))

    assert facts(dataset, 0) == Facts()


def test_a_description_is_one_line() -> None:
    dataset = Dataset()
    dataset.SeriesDescription = "  Ax   T1 "

    assert description(dataset) == "Ax T1"
    assert description(Dataset()) == ""
