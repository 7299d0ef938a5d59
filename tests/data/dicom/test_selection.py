"""What rules choose, and that no reason tells what a file says."""

from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from rayology.config import validated
from rayology.data.dicom.facts import Facts, description, facts
from rayology.data.dicom.geometry import Geometry
from rayology.data.dicom.image_kind import ImageKind, image_type
from rayology.data.dicom.selection import Bounds, Selection, orientation, selected
from rayology.errors import ConfigError


def tilted(degrees: float) -> Geometry:
    """Return the place of a slice tilted from axial towards coronal."""
    angle = np.radians(degrees)
    return Geometry(normal=(0.0, float(np.sin(angle)), float(np.cos(angle))))


def why(rules: Selection, facts: Facts = Facts(), geometry: Geometry = Geometry(), **header: Any) -> str:  # noqa: ANN401, B008 # frozen
    """Return why an image is not selected, given a few attributes of its header."""
    dataset = Dataset()
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    return selected(dataset, rules, facts, geometry, image_type(dataset, 0))


def test_no_rules_choose_what_says_nothing_of_itself() -> None:
    assert why(Selection()) == ""


def test_a_modality_is_chosen() -> None:
    rules = Selection(modality="MR")

    assert why(rules, Modality="MR") == ""
    assert why(rules, Modality="CT") == "its modality is not MR (selection.modality)"


@pytest.mark.parametrize(("text", "is_chosen"), [("Ax T1 post", True), ("AX t1", True), ("Ax T2", False), ("", False)])
def test_a_description_is_matched_in_either_case(text: str, *, is_chosen: bool) -> None:
    assert (why(Selection(description=r"\bt1\b"), SeriesDescription=text) == "") is is_chosen


def test_a_description_is_told_nowhere() -> None:
    reason = why(Selection(description="T1"), SeriesDescription="Jane Doe T2")

    assert reason == "its series' description does not match selection.description"
    assert "description" not in {field.name for field in fields(Facts)}


@pytest.mark.parametrize("asked", ["CTImageStorage", CTImageStorage])
def test_a_sop_class_is_chosen_by_its_keyword_or_uid(asked: str) -> None:
    rules = Selection(sop_class=asked)

    assert why(rules, SOPClassUID=CTImageStorage) == ""
    assert why(rules, SOPClassUID=SecondaryCaptureImageStorage) == f"its SOP class is not {asked} (selection.sop_class)"


@pytest.mark.parametrize(
    "asked", ["DigitalXRayImageStorageForPresentation", "DigitalMammographyXRayImageStorageForProcessing"]
)
def test_a_sop_class_is_chosen_for_what_its_images_are_meant(asked: str) -> None:
    assert why(Selection(sop_class=asked), SOPClassUID=getattr(uid, asked)) == ""


def test_an_image_type_is_matched_with_its_values_joined() -> None:
    rules = Selection(image_type=r"original\\primary\\(m|p)$")

    assert why(rules, ImageType=["ORIGINAL", "PRIMARY", "P"]) == ""
    assert why(rules, ImageType=["DERIVED", "PRIMARY", "P"]) == "its Image Type does not match selection.image_type"


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        ("localizers", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]}),
        ("localizers", {"ImageType": ["ORIGINAL", "PRIMARY", "SCOUT"]}),
        ("mosaics", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}),
        ("pages", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        ("pages", {"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}),
        ("pages", {"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}),
        ("pages", {"BurnedInAnnotation": "YES"}),
        ("pages", {"ConversionType": "SD"}),
        ("pages", {"Modality": "DOC"}),
        ("pages", {"Modality": "SM", "ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}),
    ],
)
def test_what_says_that_it_is_no_slice_of_anatomy_is_left_out_unless_it_is_asked_for(
    kind: ImageKind, header: dict[str, Any]
) -> None:
    others = tuple(other for other in get_args(ImageKind) if other != kind)

    assert why(Selection(include=others), **header).endswith(f"to keep it, name {kind} in selection.include")
    assert why(Selection(include=(kind,)), **header) == ""


@pytest.mark.parametrize(
    "header",
    [
        {"SOPClassUID": SecondaryCaptureImageStorage, "ConversionType": "WSD", "Modality": "CR"},
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "BurnedInAnnotation": "NO"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "ASL", "LABEL"], "Modality": "MR"},
        {"ConversionType": "SI", "RecognizableVisualFeatures": "YES"},
    ],
)
def test_converted_and_derived_images_are_kept(header: dict[str, Any]) -> None:
    assert why(Selection(), **header) == ""


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

    assert why(rules, geometry=tilted(5)) == ""
    assert why(rules, geometry=tilted(90)) == "it is coronal, not axial (selection.orientation)"
    assert "of no known orientation" in why(rules)


def test_numbers_are_chosen_by_range_with_both_ends() -> None:
    rules = Selection(ranges={"echo_time_ms": Bounds(low=80, high=100), "rows": Bounds(high=512)})

    assert why(rules, Facts(echo_time_ms=80, rows=512)) == ""
    assert why(rules, Facts(echo_time_ms=79, rows=512)) == (
        "its echo_time_ms lies outside 80 to 100 (selection.ranges)"
    )
    assert why(rules, Facts(rows=512)) == "it does not say its echo_time_ms (selection.ranges)"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"image_type": "("}, r"selection: image_type: '\(' is not a regular expression"),
        ({"sop_class": "CT"}, "selection: sop_class: 'CT' is not a SOP class; write its UID, or its keyword"),
        ({"sop_class": "CTImagStorage"}, "selection: sop_class: 'CTImagStorage' is not a SOP class"),
        ({"include": ["scouts"]}, "selection: include"),
        ({"description": "("}, r"selection: description: '\(' is not a regular expression"),
        ({"ranges": {"echo": {"low": 1}}}, "selection: ranges: 'echo' is not a number of a header; write one of: rows"),
        ({"ranges": {"rows": {"low": 2, "high": 1}}}, "low 2 must not lie above high 1"),
        ({"tolerance_deg": 60}, "at most 45"),
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
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20200102", "030405.5"

    assert facts(dataset, 0, "") == Facts(
        rows=320,
        slice_thickness_mm=5,
        echo_time_ms=92,
        acquisition=3,
        b_value=1000,
        acquisition_time=20200102030405.5,
    )


def test_facts_keep_no_text() -> None:
    dataset = Dataset()
    dataset.ConvolutionKernel, dataset.SeriesDescription, dataset.ImageType = "Jane Doe", "Jane Doe", ["JANE"]

    found = facts(dataset, 0, image_type(dataset, 0))

    assert not [value for value in vars(found).values() if isinstance(value, str)]
    assert found.kernel != found.image_type


def test_facts_of_many_frames_come_from_their_groups() -> None:
    shared, own = Dataset(), [Dataset(), Dataset()]
    shared.PixelMeasuresSequence = Sequence([Dataset()])
    shared.PixelMeasuresSequence[0].SliceThickness = "2.5"
    for group, echo, index in zip(own, (10.0, 90.0), (1, 2), strict=True):
        group.MREchoSequence = Sequence([Dataset()])
        group.MREchoSequence[0].EffectiveEchoTime = echo
        group.FrameContentSequence = Sequence([Dataset()])
        group.FrameContentSequence[0].TemporalPositionIndex = index
        group.FrameContentSequence[0].DimensionIndexValues = [index, 7]
        group.FrameContentSequence[0].FrameAcquisitionDateTime = "202001020304-0500"
        group.MRImageFrameTypeSequence = Sequence([Dataset()])
        group.MRImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if index == 1 else "M"]
    dataset = Dataset()
    dataset.NumberOfFrames = 2
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(own)

    assert facts(dataset, 1, "") == Facts(
        slice_thickness_mm=2.5,
        echo_time_ms=90,
        temporal_position=2,
        acquisition_time=20200102030400,
        indices=(2, 7),
    )
    assert [image_type(dataset, frame).split("\\")[2] for frame in (0, 1)] == ["LOCALIZER", "M"]


def test_a_header_that_says_nothing_gives_no_facts() -> None:
    dataset = Dataset()
    dataset.ImageType = "ORIGINAL"
    dataset.add_new("EchoTime", "FD", float("nan"))

    assert facts(dataset, 0, "") == Facts()


def test_a_description_is_one_line() -> None:
    dataset = Dataset()
    dataset.SeriesDescription = "  Ax   T1 "

    assert description(dataset) == "Ax T1"
    assert description(Dataset()) == ""
