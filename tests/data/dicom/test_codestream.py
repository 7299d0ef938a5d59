"""What compressed frames say of their shape."""

from dataclasses import replace
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from rayology.data.dicom.codestream import PROGRESSIVE, CodedFrame, inspect

GREY = np.zeros((24, 56), np.uint8)
DEEP = np.linspace(0, 65535, 24 * 56).reshape(24, 56).astype(np.uint16)


def saved(kind: str) -> bytes:
    stream = BytesIO()
    Image.fromarray(GREY).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("codestream", "precision", "coding"),
    [
        (saved("JPEG"), 8, 0xC0),
        (saved("JPEG2000"), 8, 0x51),  # with the boxes of a JP2 file before it
        (imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12), 12, 0xC1),
        (imagecodecs.jpeg8_encode(DEEP, lossless=True, bitspersample=16), 16, 0xC3),
        (imagecodecs.jpegls_encode(DEEP), 16, 0xF7),
        (imagecodecs.htj2k_encode(DEEP), 16, 0x51),
    ],
)
def test_the_shape_is_that_of_the_image(codestream: bytes, precision: int, coding: int) -> None:
    found = inspect(codestream)

    assert replace(found, start=0) == CodedFrame(24, 56, 1, precision, coding)
    assert codestream[found.start] == 0xFF


def test_colour_has_three_samples() -> None:
    found = inspect(bytes(imagecodecs.jpegls_encode(np.zeros((8, 9, 3), np.uint8))))

    assert (found.rows, found.columns, found.samples) == (8, 9, 3)


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    plain = saved("JPEG")

    assert inspect(plain[:2] + b"\xff\xff" + plain[2:]) == CodedFrame(24, 56, 1, 8, 0xC0)


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        b"text",
        b"\xff\xd8",
        b"\xff\xd8" + bytes(20),
        b"\xff\x4f\xff\x51\x00",
        b"\xff\xd8\xff\xe0\x00\x04\x00\x00" * 2,
        b"\xff\xd8\xff\xda" + bytes(20),
    ],
)
def test_a_codestream_without_a_shape_is_refused(codestream: bytes) -> None:
    with pytest.raises(ValueError, match="codestream"):
        inspect(codestream)


def altered(at: int, *numbers: int) -> bytes:
    """Write sizes of JPEG 2000 anew, from so many bytes behind the SIZ marker on (ISO/IEC 15444-1 A.5.1)."""
    codestream = bytearray(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k"))
    changed = b"".join(number.to_bytes(4, "big") for number in numbers)
    codestream[4 + at : 4 + at + len(changed)] = changed
    return bytes(codestream)


def test_more_tiles_than_images_have_are_refused() -> None:
    with pytest.raises(ValueError, match="4300800 tiles"):
        inspect(altered(4, 56000, 76800, 0, 0, 1000, 1))


@pytest.mark.parametrize(
    "codestream",
    [
        altered(4, 56, 24, 0, 0, 0, 24),  # tiles of no width
        altered(4, 56, 24, 1000, 0),  # an image that starts behind its end
        altered(4, 56, 24, 0, 0, 56, 24, 0, 0, 0x00010702, 0x01FF5200),  # every second column alone
    ],
)
def test_a_canvas_that_is_no_image_is_refused(codestream: bytes) -> None:
    with pytest.raises(ValueError, match="codestream"):
        inspect(codestream)


def test_more_scans_than_images_have_are_refused() -> None:
    file = BytesIO()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(file, "jpeg", progressive=True)
    codestream = file.getvalue()
    scan = codestream[codestream.rindex(b"\xff\xda") : -2]

    assert inspect(codestream).coding == PROGRESSIVE
    with pytest.raises(ValueError, match="scans are more than the 64"):
        inspect(codestream[:-2] + 100 * scan + codestream[-2:])


def test_more_scans_of_colour_than_it_has_samples_for_are_refused() -> None:
    file = BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "jpeg")
    codestream = file.getvalue()
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"

    assert inspect(codestream).samples == 3
    with pytest.raises(ValueError, match="101 scans are more than the 64"):
        inspect(codestream[:-2] + 100 * scan + codestream[-2:])


def test_more_layers_than_images_have_are_refused() -> None:
    codestream = bytearray(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k"))
    style = codestream.index(b"\xff\x52")
    codestream[style + 6 : style + 8] = b"\xff\xff"

    with pytest.raises(ValueError, match="65535 layers"):
        inspect(bytes(codestream))
