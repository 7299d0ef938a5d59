"""One file into images: what the numbers mean, and what happens to files that are no image."""

import csv
import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
    SegmentationStorage,
)

from rayology.data import dicom, pixels
from rayology.data.dicom import read
from rayology.errors import DataError, NotAnImage, NotDicom, UnreadableImage

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)


def own_file(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def test_stored_values_are_rescaled_to_modality_units(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1024)

    (instance,) = read(file)

    assert instance.pixels.dtype == np.float32
    np.testing.assert_array_equal(instance.pixels[0], RAMP * 2.0 - 1024)


def test_without_a_rescale_stored_values_are_the_values(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=None, RescaleIntercept=None))

    np.testing.assert_array_equal(instance.pixels[0], RAMP)


def test_bits_above_those_stored_are_ignored(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP | 0xA000, BitsStored=12))

    np.testing.assert_array_equal(instance.pixels[0], RAMP)


def test_twelve_signed_bits_are_extended_by_their_sign(tmp_path: Path, write_dicom: WriteDicom) -> None:
    values = RAMP.astype(np.int16) - 8
    (instance,) = read(write_dicom(tmp_path / "a.dcm", values & 0x0FFF, BitsStored=12))

    np.testing.assert_array_equal(instance.pixels[0], values)


def test_the_retired_form_of_high_bit_is_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, BitsStored=12, HighBit=15)

    with pytest.raises(UnreadableImage, match="High Bit 15 with Bits Stored 12"):
        read(file)


@pytest.mark.parametrize(("dtype", "total"), [(np.uint16, 4095), (np.int16, -1)])
def test_monochrome1_is_turned_within_what_its_bits_can_hold(
    tmp_path: Path, write_dicom: WriteDicom, dtype: type[np.uint16 | np.int16], total: int
) -> None:
    turned = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "CR", "BitsStored": 12}
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP.astype(dtype), **turned))

    np.testing.assert_array_equal(instance.pixels[0], total - RAMP.astype(np.float32))


def test_monochrome1_is_turned_in_modality_units(tmp_path: Path, write_dicom: WriteDicom) -> None:
    attributes = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "CR", "BitsStored": 12, "RescaleSlope": 3}
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, RescaleIntercept=7, **attributes))

    np.testing.assert_array_equal(instance.pixels[0], (4095 - RAMP.astype(np.float32)) * 3 + 7)


def test_hounsfield_units_stay_whatever_a_viewer_should_show(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1"))

    np.testing.assert_array_equal(instance.pixels[0], RAMP)


def test_padding_is_masked_and_filled_with_the_lowest_valid_value(tmp_path: Path, write_dicom: WriteDicom) -> None:
    values = RAMP.astype(np.int16) + 5
    values[0, 0] = -2000
    (instance,) = read(write_dicom(tmp_path / "a.dcm", values, PixelPaddingValue=-2000, RescaleIntercept=-10))

    assert not instance.valid[0, 0]
    assert instance.valid.sum() == 15
    assert instance.pixels[0, 0, 0] == 6 - 10


def test_a_padding_range_is_masked_whichever_end_comes_first(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, PixelPaddingValue=3, PixelPaddingRangeLimit=1))

    np.testing.assert_array_equal(instance.valid, ~np.isin(RAMP, (1, 2, 3)))


def test_padding_that_was_written_unsigned_is_masked_in_signed_pixels() -> None:
    dataset = Dataset()
    dataset.BitsAllocated, dataset.PixelRepresentation, dataset.PixelData = 16, 1, b""
    dataset.add_new("PixelPaddingValue", "US", 64036)

    masked = pixels.padding(dataset, np.array([[-1500, 0]]))

    np.testing.assert_array_equal(masked, [[True, False]])


def test_a_frame_of_padding_alone_is_zero_and_invalid(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", np.full((4, 4), 9, np.uint16), PixelPaddingValue=9))

    assert not instance.valid.any()
    assert not instance.pixels.any()


def test_a_modality_lut_beats_the_rescale(tmp_path: Path, write_dicom: WriteDicom) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 2, 16], "US"
    table.add_new("LUTData", "US", [100, 200, 300, 1000])
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=Sequence([table])))

    np.testing.assert_array_equal(instance.pixels[0, 0], [100, 100, 100, 200])
    assert instance.pixels[0, 3, 3] == 1000


def test_each_frame_has_its_own_rescale_and_position(tmp_path: Path, write_dicom: WriteDicom) -> None:
    shared = _group(PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]})
    own = [
        _group(
            PixelValueTransformationSequence={"RescaleSlope": slope, "RescaleIntercept": -slope},
            PlanePositionSequence={"ImagePositionPatient": [0, 0, 10 * slope]},
            PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25]},
        )
        for slope in (1, 3)
    ]
    file = write_dicom(
        tmp_path / "a.dcm",
        np.stack([RAMP, RAMP]),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(own),
    )

    first, second = read(file)

    np.testing.assert_array_equal(first.pixels[0], RAMP * 1.0 - 1)
    np.testing.assert_array_equal(second.pixels[0], RAMP * 3.0 - 3)
    assert (first.geometry.position_mm, second.geometry.position_mm) == (10, 30)
    assert first.geometry.spacing_mm == (0.5, 0.25)


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


def test_a_segmentation_is_no_image(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, Modality="SEG", SOPClassUID=SegmentationStorage)

    with pytest.raises(NotAnImage, match="Segmentation Storage"):
        read(file)


def _encapsulated(path: Path, write_dicom: WriteDicom, syntax: str, codestream: bytes = b"\xff\xd8") -> Path:
    write_dicom(path, RAMP)
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    return path


def test_a_video_is_no_still_image(tmp_path: Path, write_dicom: WriteDicom) -> None:
    with pytest.raises(NotAnImage, match="holds a video: MPEG2 Main Profile"):
        read(_encapsulated(tmp_path / "a.dcm", write_dicom, MPEG2MPML))


def test_a_syntax_without_decoder_is_named_with_what_helps(tmp_path: Path, write_dicom: WriteDicom) -> None:
    with pytest.raises(UnreadableImage, match=r"JPEG Lossless, Non-Hierarchical.*rewrite it as JPEG-LS"):
        read(_encapsulated(tmp_path / "a.dcm", write_dicom, JPEGLosslessSV1))


def test_a_private_syntax_is_refused_without_its_number(tmp_path: Path, write_dicom: WriteDicom) -> None:
    with pytest.raises(UnreadableImage, match="a private transfer syntax"):
        read(_encapsulated(tmp_path / "a.dcm", write_dicom, "1.2.840.113619.5.99"))


def test_a_header_without_a_syntax_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="names no transfer syntax"):
        read(own_file("meta_missing_tsyntax.dcm"))


@pytest.mark.parametrize("size", [(4, 5), (30000, 30000)])
def test_a_codestream_of_another_size_than_the_header_says_is_not_decoded(
    tmp_path: Path, write_dicom: WriteDicom, size: tuple[int, int]
) -> None:
    numbers = (size[1], size[0], 0, 0)
    header = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + b"".join(number.to_bytes(4, "big") for number in numbers)

    with pytest.raises(UnreadableImage, match="no image of 4 x 4"):
        read(_encapsulated(tmp_path / "a.dcm", write_dicom, JPEG2000Lossless, header))


def test_an_image_of_absurd_size_is_refused_before_decoding(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, Rows=60000, Columns=60000)

    with pytest.raises(UnreadableImage, match="60000 x 60000"):
        read(file)


def test_a_deflated_file_is_inflated_no_further_than_allowed(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = np.zeros((128, 128), np.uint16)
    file = write_dicom(tmp_path / "a.dcm", zeros, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    assert read(file)[0].pixels.shape == (1, 128, 128)

    # A gigabyte would take seconds to write.
    monkeypatch.setattr(dicom, "MAX_BYTES", 10_000)

    assert file.stat().st_size < 10_000
    with pytest.raises(UnreadableImage, match="more than 10000 bytes"):
        read(file)


@pytest.mark.parametrize("kept", [140, 300, 500])
def test_a_truncated_file_is_unreadable_wherever_it_ends(tmp_path: Path, write_dicom: WriteDicom, kept: int) -> None:
    whole = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint16)).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:kept] if kept < 500 else whole[:-100])

    with pytest.raises(DataError):
        read(tmp_path / "cut.dcm")


@pytest.mark.parametrize("attributes", [{"Rows": None}, {"Columns": 0}, {"RescaleSlope": 0}])
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


class PanicException(BaseException):
    """What a codec written in Rust raises."""


def test_the_panic_of_a_codec_costs_only_its_file(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panic(*_: object, **__: object) -> None:
        raise PanicException

    # No file is known that makes today's codecs panic.
    monkeypatch.setattr(pixels, "pixel_array", panic)

    with pytest.raises(UnreadableImage, match="PanicException"):
        read(write_dicom(tmp_path / "a.dcm", RAMP))


def test_an_interrupt_is_no_fault_of_the_file(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    # A key cannot be pressed in a test.
    monkeypatch.setattr(pixels, "pixel_array", interrupt)

    with pytest.raises(KeyboardInterrupt):
        read(write_dicom(tmp_path / "a.dcm", RAMP))


def outcome(file: Path) -> str:
    try:
        read(file)
    except DataError as error:
        return type(error).__name__
    return "ok"


@pytest.mark.slow
def test_every_file_of_the_zoo_is_an_image_or_a_clear_error(shared_data: Path) -> None:
    zoo = shared_data / "dicom_zoo"
    rows = list(csv.DictReader((zoo / "zoo_index.csv").read_text().splitlines()))
    found = Counter((row["decode"], outcome(zoo / row["path"])) for row in rows)

    assert found["ok", "ok"] >= 180
    assert found["not-dicom", "NotDicom"] == 8
    assert found["dicom-without-pixels", "NotAnImage"] + found["dicom-without-pixels", "NotDicom"] == 72
    assert not found["error", "ok"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pydicom warns of faults of these files
def test_lossless_files_of_the_zoo_have_the_pixels_of_its_index(shared_data: Path) -> None:
    zoo = shared_data / "dicom_zoo"
    compared = 0
    for row in csv.DictReader((zoo / "zoo_index.csv").read_text().splitlines()):
        if row["decode"] != "ok" or row["photometric"] == "PALETTE COLOR" or row["ts_name"].startswith("JPEG Baseline"):
            continue
        try:
            read(zoo / row["path"])
        except DataError:
            continue
        shape = tuple(int(length) for length in row["shape"].split("x"))
        stored = np.ascontiguousarray(pixels.frames(dcmread(zoo / row["path"])).reshape(shape))
        found = hashlib.sha256(stored.tobytes() + str(shape).encode()).hexdigest()
        assert found == row["array_sha256"], row["path"]
        compared += 1
    assert compared >= 150


def _group(**sequences: dict[str, object]) -> Dataset:
    group = Dataset()
    for name, values in sequences.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(group, name, Sequence([item]))
    return group


def test_rle_is_read_by_its_own_segments(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP)
    dataset = dcmread(file)
    dataset.compress(RLELossless)
    dataset.save_as(file)

    (instance,) = read(file)

    assert instance.syntax == "RLE Lossless"
    np.testing.assert_array_equal(instance.pixels[0], RAMP)
