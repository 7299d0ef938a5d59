"""Pixels stay as they are, and what is written around them goes."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from tests.deidentify.copies import RAMP, WriteDicom, deidentified

from rayology.deidentify.comments import without_comments
from rayology.deidentify.files import content
from rayology.errors import DataError, UnreadableImage


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_the_syntax_and_every_pixel_stay(tmp_path: Path, write_dicom: WriteDicom, syntax: str) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, TransferSyntaxUID=syntax)

    copy = deidentified(file)

    assert copy.file_meta.TransferSyntaxUID == syntax
    assert copy.PixelData == dcmread(file).PixelData


def test_compressed_pixels_stay_byte_for_byte(tmp_path: Path, write_dicom: WriteDicom) -> None:
    original = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    original.compress(RLELossless)
    original.save_as(tmp_path / "rle.dcm")

    copy = deidentified(tmp_path / "rle.dcm")

    assert copy.file_meta.TransferSyntaxUID == RLELossless
    assert copy.PixelData == original.PixelData
    np.testing.assert_array_equal(copy.pixel_array, RAMP)


def test_comments_of_a_codestream_go_and_its_pixels_stay(tmp_path: Path) -> None:
    original = dcmread(str(get_testdata_file("SC_rgb_jpeg_lossy_gdcm.dcm", download=False)))
    (frame,) = generate_frames(original.PixelData, number_of_frames=1)
    comments = b"".join(
        marker + (2 + len(text)).to_bytes(2, "big") + text
        for marker, text in ((b"\xff\xfe", b"Jane Doe's scan"), (b"\xff\xe1", b"Exif\0\0 by Jane"))
    )
    original.PixelData = encapsulate([frame[:2] + comments + frame[2:]])
    original.save_as(tmp_path / "a.dcm")

    copy = deidentified(tmp_path / "a.dcm")

    assert b"Jane" not in copy.PixelData
    assert len(copy.PixelData) == len(original.PixelData)
    np.testing.assert_array_equal(copy.pixel_array, original.pixel_array)


@pytest.mark.slow
def test_the_pixels_of_every_file_of_the_zoo_stay(shared_data: Path) -> None:
    compared = changed = 0
    for file in sorted((shared_data / "dicom_zoo").rglob("*")):
        try:
            original = content(file).dataset if file.is_file() else Dataset()
            copy = deidentified(file).get("PixelData")
        except (DataError, AttributeError, OSError, ValueError):
            continue
        if copy is not None and original.file_meta.TransferSyntaxUID.is_encapsulated:
            changed += copy != original.PixelData
        elif copy is not None:
            assert original.PixelData.startswith(copy.removesuffix(b"\0")), file.name
        compared += copy is not None

    assert compared > 180
    assert changed == 2  # a comment that names an archive, and a vendor's boxes in a JP2 file


@pytest.mark.parametrize(
    ("comment", "stays"),
    [(b"\0\1Kakadu-v7.3.3", True), (b"\0\1Created by OpenJPEG version 2.5.2", True), (b"\0\1Kakadu of Jane", False)],
)
def test_an_encoder_may_name_itself_in_jpeg_2000(comment: bytes, *, stays: bool) -> None:
    segment = b"\xff\x64" + (2 + len(comment)).to_bytes(2, "big") + comment
    pixels = encapsulate([b"\xff\x4f" + segment + b"\xff\x90" + comment])

    cleaned = without_comments(pixels)

    assert (cleaned == pixels) is stays
    assert cleaned.count(comment) == 1 + stays


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.arange(64, dtype=np.uint8).reshape(8, 8)])
def test_text_in_any_segment_of_a_jpeg_and_behind_its_end_goes(image: NDArray[np.uint8]) -> None:
    frame = bytes(imagecodecs.jpeg8_encode(image))
    segments = b"".join(b"\xff" + bytes([0xE0 + number]) + b"\x00\x0eSmith^Janeth" for number in range(16))
    pixels = encapsulate([frame[:2] + segments + frame[2:] + b"Jones^Mary"])

    cleaned = without_comments(pixels)

    assert len(cleaned) == len(pixels)
    assert b"Smith" not in cleaned
    assert b"Jones" not in cleaned
    (kept,) = generate_frames(cleaned, number_of_frames=1)
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(kept), imagecodecs.jpeg8_decode(frame))


def test_text_in_the_boxes_of_a_jp2_file_goes_and_its_pixels_stay() -> None:
    image = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    frame = bytes(imagecodecs.jpeg2k_encode(image, codecformat="jp2", reversible=True))
    box = (8 + 12).to_bytes(4, "big") + b"xml Smith^Janeth"
    pixels = encapsulate([frame[:12] + box + frame[12:]])

    cleaned = without_comments(pixels)

    assert b"Smith" not in cleaned
    (kept,) = generate_frames(cleaned, number_of_frames=1)
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(kept[kept.index(b"\xff\x4f\xff\x51") :]), image)


def test_what_is_no_codestream_is_left_alone() -> None:
    pixels = encapsulate([bytes(range(64)) + b"\xff\xd9" + bytes(range(64))])

    assert without_comments(pixels) == pixels


def test_pixels_that_end_early_are_no_copy(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP)
    file.write_bytes(file.read_bytes()[:-10])

    with pytest.raises(UnreadableImage, match=r"bytes of pixels, not \d+; truncated"):
        deidentified(file)
