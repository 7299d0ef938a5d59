"""Colour is what the codestream says, and Photometric Interpretation decides only if it says nothing."""

from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate
from syntaxes import written

from rayology.data.dicom import Instance, decode

RED = np.zeros((32, 48, 3), np.uint8) + np.array([200, 40, 40], np.uint8)
YBR = np.asarray(Image.fromarray(RED).convert("YCbCr"))
HEADERS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT")
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
START = {"baseline": b"\xff\xc0", "lossless": b"\xff\xc3"}


def adobe(transform: int, *, length: int = 14) -> bytes:
    return b"\xff\xee\0" + bytes([length]) + (b"Adobe\0\x64\0\0\0\0" + bytes([transform]))[: length - 2]


def jpeg(
    samples: np.ndarray,
    *,
    marks: bytes = b"",
    subsampling: int = 0,
    names: bytes = b"\1\2\3",
    coding: Literal["baseline", "lossless"] = "baseline",
) -> bytes:
    """Code samples as they are, and let the codestream say of them only what it is told to."""
    stream = BytesIO()
    if coding == "baseline":
        Image.fromarray(samples, "YCbCr").save(stream, "jpeg", quality=95, subsampling=subsampling)
    else:
        stream.write(imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=8, colorspace=None))
    codestream = bytearray(stream.getvalue())
    del codestream[2 : 4 + int.from_bytes(codestream[4:6], "big")]  # its only application segment
    for place, step in ((codestream.index(START[coding]) + 10, 3), (codestream.index(b"\xff\xda") + 5, 2)):
        codestream[place : place + 3 * step : step] = names
    return bytes(codestream[:2] + marks + codestream[2:])


def shown(codestreams: Sequence[bytes], header: str, *, syntax: uid.UID = uid.JPEGBaseline8Bit) -> tuple[Instance, ...]:
    dataset = dcmread(BytesIO(written(RED, "raw", attributes={"PhotometricInterpretation": header})))
    dataset.PixelData, dataset.NumberOfFrames = encapsulate(list(codestreams)), len(codestreams)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    dataset.save_as(stream)
    return tuple(decode(stream))


def assert_red(instance: Instance) -> None:
    np.testing.assert_allclose(instance.pixels[:, 5, 5], RED[0, 0], atol=3)


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "codestream",
    [
        jpeg(YBR, subsampling=1),
        jpeg(YBR, subsampling=2),
        jpeg(YBR, subsampling=2, names=b"\0\1\2"),
        jpeg(YBR, subsampling=1, marks=adobe(0)),
        jpeg(YBR, marks=JFIF),
        jpeg(YBR, marks=adobe(1)),
        jpeg(YBR, marks=b"\xff\xfe\x00\x04by" + JFIF),
        jpeg(RED, marks=adobe(0)),
        jpeg(RED, names=b"RGB"),
        jpeg(RED, names=b"rgb"),
        bytes(imagecodecs.jpeg8_encode(RED, colorspace="rgb", outcolorspace="rgb")),
    ],
)
def test_a_codestream_that_says_its_colour_is_believed_before_the_header(codestream: bytes, header: str) -> None:
    (instance,) = shown([codestream], header)

    assert_red(instance)


@pytest.mark.parametrize("marks", [b"", adobe(1, length=12)], ids=["nothing", "a segment too short for a transform"])
def test_the_header_decides_if_the_codestream_does_not(marks: bytes) -> None:
    for samples, header in ((RED, "RGB"), (YBR, "YBR_FULL"), (YBR, "YBR_FULL_422")):
        (instance,) = shown([jpeg(samples, marks=marks)], header)
        assert_red(instance)


def test_each_frame_says_its_own_colour() -> None:
    frames = [jpeg(RED), jpeg(YBR, subsampling=2), jpeg(YBR, marks=JFIF), jpeg(RED, names=b"RGB")]

    instances = shown(frames, "RGB")

    assert len(instances) == 4
    for instance in instances:
        assert_red(instance)


@pytest.mark.parametrize(
    ("codestream", "headers"),
    [
        (jpeg(RED, names=b"RGB", coding="lossless"), HEADERS),
        (jpeg(YBR, marks=JFIF, coding="lossless"), HEADERS),
        (jpeg(YBR, marks=adobe(1), coding="lossless"), HEADERS),
        (jpeg(RED, coding="lossless"), ("RGB",)),
        (jpeg(YBR, coding="lossless"), ("YBR_FULL", "YBR_FULL_422")),
    ],
)
def test_a_lossless_jpeg_says_its_colour_as_a_lossy_one_does(codestream: bytes, headers: Sequence[str]) -> None:
    for header in headers:
        (instance,) = shown([codestream], header, syntax=uid.JPEGLosslessSV1)
        assert_red(instance)


@pytest.mark.parametrize("header", ["RGB", "YBR_RCT", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("codestream", "syntax"),
    [
        (imagecodecs.jpeg2k_encode(RED, reversible=True, codecformat="j2k"), uid.JPEG2000Lossless),
        (imagecodecs.htj2k_encode(RED, reversible=True), uid.HTJ2KLossless),
    ],
)
def test_components_that_jpeg_2000_transformed_were_rgb(codestream: bytes, syntax: uid.UID, header: str) -> None:
    (instance,) = shown([bytes(codestream)], header, syntax=syntax)

    np.testing.assert_array_equal(instance.pixels[:, 5, 5], RED[0, 0])


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL"])
def test_a_jp2_file_that_names_its_colour_sycc_is_turned_into_rgb(header: str) -> None:
    codestream = bytes(imagecodecs.jpeg2k_encode(YBR, reversible=True, mct=False))
    assert codestream.count(b"colr\x01\0\0\0\0\0\x10") == 1

    (instance,) = shown(
        [codestream.replace(b"colr\x01\0\0\0\0\0\x10", b"colr\x01\0\0\0\0\0\x12")], header, syntax=uid.JPEG2000Lossless
    )

    assert_red(instance)


@pytest.mark.parametrize("name", ["raw", "RLE", "JPEG-LS"])
def test_codings_that_say_nothing_of_colour_leave_it_to_the_header(name: str) -> None:
    for samples, header in ((RED, "RGB"), (YBR, "YBR_FULL")):
        (instance,) = decode(BytesIO(written(samples, name, attributes={"PhotometricInterpretation": header})))
        assert_red(instance)
