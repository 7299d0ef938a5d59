"""One file into images: what the numbers mean, and what happens to files that are no image."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import HEVCMP51, MPEG2MPML, MPEG4HP41, UID, ExplicitVRBigEndian
from syntaxes import written
from tests.data.dicom.stored_values import stored

from rayology.data.dicom import instances, pixels, read
from rayology.data.dicom.selection import Selection
from rayology.errors import DataError, NotAnImage, NotDicom, UnreadableImage, UnsupportedSyntax

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)


def own_file(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def test_frames_without_functional_groups_have_no_position(tmp_path: Path, write_dicom: WriteDicom) -> None:
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 5]}
    first, second = read(write_dicom(tmp_path / "a.dcm", np.stack([RAMP, RAMP]), **place))

    assert first.geometry.position_mm is None
    assert second.geometry.position_mm is None


def test_a_position_is_measured_along_a_normal_that_does_not_depend_on_the_series(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    corner = {"ImagePositionPatient": [-100, -120, 37.5]}
    (one,) = read(write_dicom(tmp_path / "a.dcm", RAMP, ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **corner))
    (other,) = read(write_dicom(tmp_path / "b.dcm", RAMP, ImageOrientationPatient=[0, 1, 0, 1, 0, 0], **corner))

    assert one.geometry.normal == other.geometry.normal == (0, 0, 1)
    assert one.geometry.position_mm == other.geometry.position_mm == 37.5


@pytest.mark.parametrize("orientation", [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [1, 0, 0]])
def test_an_orientation_that_spans_no_plane_gives_no_position(
    tmp_path: Path, write_dicom: WriteDicom, orientation: list[float]
) -> None:
    place = {"ImageOrientationPatient": orientation, "ImagePositionPatient": [1, 2, 3]}
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, **place))

    assert instance.geometry.normal is None
    assert instance.geometry.position_mm is None


def test_a_spacing_that_is_no_pair_of_numbers_is_unknown(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (one,) = read(write_dicom(tmp_path / "a.dcm", RAMP, PixelSpacing=0.5))
    (other,) = read(write_dicom(tmp_path / "b.dcm", RAMP, PixelSpacing=[0, 0.5]))

    assert one.geometry.spacing_mm is None
    assert other.geometry.spacing_mm is None


@pytest.mark.parametrize("name", ["examples_palette.dcm", "SC_rgb_small_odd.dcm", "SC_ybr_full_422_uncompressed.dcm"])
def test_colour_has_three_channels(name: str) -> None:
    (instance,) = read(own_file(name))

    assert len(instance.pixels) == 3
    assert instance.valid.all()


def test_the_same_image_in_another_syntax_has_the_same_pixels() -> None:
    (plain,) = read(own_file("MR_small.dcm"))

    for name in (
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ):
        (same,) = read(own_file(name))
        np.testing.assert_array_equal(same.pixels, plain.pixels)


def test_a_text_file_is_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("not an image" * 100)
    (tmp_path / "empty").touch()

    for file in tmp_path.iterdir():
        with pytest.raises(NotDicom, match="preamble"):
            read(file)


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        read(tmp_path / "missing.dcm")


def test_an_object_without_pixels_is_named() -> None:
    with pytest.raises(NotAnImage, match="RT Plan Storage"):
        read(own_file("rtplan.dcm"))


def test_a_header_without_a_syntax_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="names no transfer syntax"):
        read(own_file("meta_missing_tsyntax.dcm"))


@pytest.mark.parametrize("kept", [140, 300, 500])
def test_a_truncated_file_is_unreadable_wherever_it_ends(tmp_path: Path, write_dicom: WriteDicom, kept: int) -> None:
    whole = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint16)).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:kept] if kept < 500 else whole[:-100])

    with pytest.raises(DataError):
        read(tmp_path / "cut.dcm")


@pytest.mark.parametrize(
    "attributes", [{"Rows": None}, {"Columns": 0}, {"RescaleSlope": 0}, {"PixelRepresentation": None}]
)
def test_a_damaged_header_is_unreadable(tmp_path: Path, write_dicom: WriteDicom, attributes: dict[str, object]) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, **attributes)

    with pytest.raises(UnreadableImage):
        read(file)


def test_faults_of_text_neither_block_pixels_nor_show_in_warnings_or_logs(
    tmp_path: Path, write_dicom: WriteDicom, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, PatientID="Doe 4711", Modality="JANE DOE")
    damaged = file.read_bytes().replace(b"2.25.1", b"x.25.1")
    file.write_bytes(damaged.replace(b"\x08\x00\x16\x00UI", b"\x08\x00\x05\x00CS\x08\x00NONSENSE\x08\x00\x16\x00UI"))

    with caplog.at_level(logging.DEBUG):
        (instance,) = read(file)

    np.testing.assert_array_equal(instance.pixels[0], RAMP)
    assert instance.modality == ""
    assert not caplog.records


def test_no_identity_is_shown_by_an_instance(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, PatientID="Doe4711", IssuerOfPatientID="ward"))

    assert instance.identity.patient == "Doe4711"
    assert "Doe4711" not in repr(instance)
    assert "ward" not in repr(instance)


def _encapsulated(path: Path, write_dicom: WriteDicom, syntax: str) -> Path:
    write_dicom(path, RAMP)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"\xff\xd8"])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [MPEG2MPML, MPEG4HP41, HEVCMP51])
def test_a_video_is_refused_by_the_name_of_its_syntax(tmp_path: Path, write_dicom: WriteDicom, syntax: UID) -> None:
    with pytest.raises(UnsupportedSyntax, match=rf"holds a video \({re.escape(syntax.name)}\); write its frames"):
        read(_encapsulated(tmp_path / "a.dcm", write_dicom, syntax))


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.55", "JPEG Full Progression, Non-Hierarchical"),
        ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2"),
        ("1.2.840.113619.5.2.99", "a private transfer syntax"),
    ],
)
def test_a_syntax_without_decoder_is_named_with_what_helps(
    tmp_path: Path, write_dicom: WriteDicom, syntax: str, name: str
) -> None:
    with pytest.raises(UnsupportedSyntax, match=f"{name}.*rewrite it as JPEG-LS"):
        read(_encapsulated(tmp_path / "a.dcm", write_dicom, syntax))


def test_a_syntax_that_is_in_no_list_is_called_unknown(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = _encapsulated(tmp_path / "a.dcm", write_dicom, "1.2.840.10008.1.2.4.92")
    file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.4.92", b"1.2.840.10008.1.2.4.98"))

    with pytest.raises(UnsupportedSyntax, match="nothing installed decodes an unknown transfer syntax"):
        read(file)


class PanicException(BaseException):
    """What a codec written in Rust raises."""


@pytest.mark.parametrize(
    ("raised", "seen"), [(PanicException, UnreadableImage), (KeyboardInterrupt, KeyboardInterrupt)]
)
def test_the_panic_of_a_codec_costs_only_its_file_but_an_interrupt_is_no_fault_of_it(
    tmp_path: Path,
    write_dicom: WriteDicom,
    monkeypatch: pytest.MonkeyPatch,
    raised: type[BaseException],
    seen: type[BaseException],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    # No file is known that makes a decoder of pydicom panic, and a key cannot be pressed in a test.
    monkeypatch.setattr(pixels, "pixel_array", fail)
    file = write_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=ExplicitVRBigEndian)

    with pytest.raises(seen):
        read(file)


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 3, 5), (4, 8, 8), (5, 1, 3)])
def test_frames_of_single_bits_follow_each_other_without_a_gap(
    tmp_path: Path, write_dicom: WriteDicom, shape: tuple[int, int, int]
) -> None:
    bits = np.random.default_rng(0).integers(0, 2, shape, np.uint8)
    packed = np.packbits(bits, bitorder="little")
    single = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": packed.tobytes() + bytes(len(packed) % 2)}
    file = write_dicom(tmp_path / "a.dcm", bits, **single)

    np.testing.assert_array_equal(stored(file)[..., 0], bits)


def test_missing_single_bits_are_told(tmp_path: Path, write_dicom: WriteDicom) -> None:
    single = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": b"\x01\x00"}
    file = write_dicom(tmp_path / "a.dcm", np.ones((2, 3, 5), np.uint8), **single)

    with pytest.raises(UnreadableImage, match="16 of 30 single bits"):
        read(file)


def test_colours_that_do_not_say_how_they_lie_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    colours = np.zeros((4, 4, 3), np.uint8)
    file.write_bytes(written(colours, "raw", attributes={"PlanarConfiguration": None}))

    with pytest.raises(UnreadableImage, match="PlanarConfiguration is missing"):
        read(file)


def test_frames_are_read_one_by_one(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", np.stack([RAMP, RAMP + 1, RAMP + 2]))

    frames = instances(file)

    assert [next(frames).pixels[0, 0, 0] for _ in range(2)] == [0, 1]
    assert len(list(frames)) == 1


def test_stored_values_are_those_of_the_file(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", np.stack([RAMP, RAMP + 1]), RescaleSlope=7)

    np.testing.assert_array_equal(stored(file)[..., 0], np.stack([RAMP, RAMP + 1]))


def test_a_count_of_frames_that_is_not_there_costs_nothing_even_where_frames_are_chosen(
    tmp_path: Path, write_dicom: WriteDicom
) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, NumberOfFrames=2**31 - 1)

    with pytest.raises(UnreadableImage, match="truncated"):
        read(file, selection=Selection(modality="CT"))


def test_a_rescale_beyond_float32_is_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    with pytest.raises(UnreadableImage, match="exceed float32"):
        read(write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope="1e36"))


def test_spaces_around_an_identity_are_no_part_of_it(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (one,) = read(write_dicom(tmp_path / "a.dcm", RAMP, PatientID=" 123"))
    (other,) = read(write_dicom(tmp_path / "b.dcm", RAMP, PatientID="123"))

    assert one.identity.patient == other.identity.patient
