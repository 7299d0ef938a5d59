import struct
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from rayology.errors import RequestError
from rayology.image import ValueRange
from rayology.serving.codecs import decode_npy, decode_png, encode_npy, encode_png

HU = ValueRange(low=-1000, high=1000)


def _values(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(HU.low, HU.high, shape).astype(np.float32)


def _npy(array: NDArray[np.generic]) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _header(*shape: int | str) -> bytes:
    """Return the beginning of an NPY that says of itself what it may not be."""
    written = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))}, )}}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(written)) + written.encode()


def _png(picture: Image.Image, *, note: str = "") -> bytes:
    file, chunks = BytesIO(), PngImagePlugin.PngInfo()
    if note:
        chunks.add_text("Note", note, zip=True)
    picture.save(file, format="png", pnginfo=chunks)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_values_within_half_a_grey_level(channels: int) -> None:
    images = _values(1, channels, 24, 16)

    kept = decode_png(encode_png(images, HU, text={}), HU, channels=channels)

    assert kept.shape == images.shape
    assert np.abs(kept - images).max() <= (HU.high - HU.low) / 255 / 2 + 1e-3


def test_black_is_the_lowest_value_and_white_the_highest() -> None:
    images = np.array([-5000.0, -1000.0, 1000.0, 5000.0], np.float32).reshape(1, 1, 2, 2)

    with Image.open(BytesIO(encode_png(images, HU, text={}))) as picture:
        levels = np.asarray(picture)

    assert levels.tolist() == [[0, 0], [255, 255]]


def test_a_16_bit_png_keeps_more_than_an_8_bit_one() -> None:
    levels = (256 * np.arange(256)).astype(np.uint16).reshape(16, 16)

    values = decode_png(_png(Image.fromarray(levels)), HU, channels=1)

    assert np.allclose(values[0, 0], levels / 65535 * 2000 - 1000, atol=1e-3)


@pytest.mark.parametrize(("mode", "channels", "side"), [("L", 1, 2048), ("I;16", 1, 2048), ("RGB", 3, 1182)])
def test_a_png_of_the_largest_size_unfolds_to_a_known_amount(mode: str, channels: int, side: int) -> None:
    body = _png(Image.new(mode, (side, side)))

    tracemalloc.start()
    values = decode_png(body, HU, channels=channels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert values.dtype == np.float32
    assert values.shape == (1, channels, side, side)
    assert peak < 40_000_000  # 17 MB of float32, and what is shorter than that beside it


def test_several_images_stand_on_one_sheet_row_by_row() -> None:
    images = np.stack([np.full((1, 8, 8), level, np.float32) for level in (-1000, 0, 1000)])

    with Image.open(BytesIO(encode_png(images, HU, text={}))) as picture:
        sheet = np.asarray(picture)

    assert sheet.shape == (16, 16)
    assert [sheet[0, 0], sheet[0, 8], sheet[8, 0], sheet[8, 8]] == [0, 128, 255, 0]


def test_a_png_says_what_it_is() -> None:
    body = encode_png(_values(1, 1, 8, 8), HU, text={"Synthetic": "YES", "Class": "größer"})

    with Image.open(BytesIO(body)) as picture:
        assert picture.info == {"Synthetic": "YES", "Class": "größer"}


def test_an_npy_is_exact() -> None:
    images = _values(3, 2, 8, 8)

    assert np.array_equal(decode_npy(encode_npy(images), channels=2), images)


@pytest.mark.parametrize("shape", [(8, 16), (1, 8, 16), (1, 1, 8, 16)])
def test_an_npy_of_one_image_may_leave_out_the_first_axes(shape: tuple[int, ...]) -> None:
    assert decode_npy(_npy(_values(*shape)), channels=1).shape == (1, 1, 8, 16)


@pytest.mark.parametrize("shape", [(4, 8, 16), (1, 4, 8, 16), (1, 1, 4, 8, 16)])
def test_an_npy_of_one_volume_may_leave_out_the_first_axes(shape: tuple[int, ...]) -> None:
    volume = _values(*shape)

    assert np.array_equal(decode_npy(_npy(volume), channels=1, num_axes=3), volume.reshape(1, 1, 4, 8, 16))


@pytest.mark.parametrize("shape", [(8, 16), (2, 4, 8, 16), (1, 2, 4, 8, 16), (1, 1, 1, 4, 8, 16)])
def test_what_is_no_volume_of_the_channels_is_refused_with_the_shapes_to_send(shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"\(slices, height, width\), \(1, slices, .*\(count, 1, slices"):
        decode_npy(_npy(_values(*shape)), channels=1, num_axes=3)


def test_a_volume_of_too_many_voxels_is_refused_with_a_size_to_send() -> None:
    with pytest.raises(RequestError, match=r"170x170x170 pixels and 1 channels.*such as 161x161x161"):
        decode_npy(_npy(np.zeros((170, 170, 170), np.uint8)), channels=1, num_axes=3)


def test_a_volume_is_drawn_as_its_middle_planes() -> None:
    volume = _values(1, 1, 16, 16, 24)

    with Image.open(BytesIO(encode_png(volume, HU, text={}))) as picture:
        axial = np.asarray(picture)[:, :24]
        assert picture.size == (24 + 24 + 16, 16)

    with Image.open(BytesIO(encode_png(volume[:, :, 8], HU, text={}))) as picture:
        assert np.array_equal(axial, np.asarray(picture))


@pytest.mark.parametrize("kind", ["<f8", ">f4", "<i2", "u1", "?"])
def test_an_npy_may_hold_any_real_numbers_in_any_order(kind: str) -> None:
    numbers = np.asfortranarray(np.arange(128).reshape(8, 16) % 2).astype(kind, order="K")

    assert np.array_equal(decode_npy(_npy(numbers), channels=1)[0, 0], numbers.astype(np.float32))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an NPY"),
        (b"no array at all", "not an NPY"),
        (_npy(np.array([{"a": 1}], object)), "real numbers"),
        (_npy(np.zeros((8, 8), complex)), "real numbers"),
        (_npy(np.zeros((8, 8)))[:-1], "whole file"),
        (_npy(np.zeros((8, 8))) + b"more", "whole file"),
        (_npy(np.zeros(8)), "shape"),
        (_npy(np.zeros((2, 8, 8))), "shape"),
        (_npy(np.zeros((0, 1, 8, 8))), "shape"),
        (_header(2**62, 4, 0), "axis below 1"),
        (_header(int("9" * 4000), 0), "axis below 1"),
        (_header("0x" + "f" * 4000, 8), "whole file"),
        (_header(*[1] * 70) + bytes(8), "shape"),
        (_npy(np.zeros((1, 1, 1, 8, 8))), "shape"),
        (_npy(np.zeros((1, 5000))), "at most 4096"),
        (_npy(np.zeros((2049, 2048), np.uint8)), "2048x2048 pixels"),
        (_npy(np.full((8, 8), np.nan)), "finite"),
        (_npy(np.full((8, 8), 1e300)), "finite"),
        (_npy(np.zeros((8, 8))).replace(b"(8, 8)", b"(9**9)"), "not an NPY"),
        (_npy(np.zeros((8, 8))).replace(b"(8, 8), }", b"(-8,-8),}"), "axis below 1"),
        (_npy(np.zeros((8, 8))).replace(b"(8, 8), }", b"(1e3, 2),"), "not an NPY"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "not an NPY"),
    ],
)
def test_what_is_no_array_of_images_is_refused_with_what_to_send(body: bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        decode_npy(body, channels=1)


def test_the_shape_of_an_npy_is_not_believed() -> None:
    body = _npy(np.zeros((8, 8))).replace(b"(8, 8), }        ", b"(99999999, 99999)")

    with pytest.raises(RequestError, match=r"whole file|not an NPY"):
        decode_npy(body, channels=1)


@pytest.mark.parametrize(
    ("body", "channels", "said"),
    [
        (b"", 1, "not a PNG"),
        (b"hello", 1, "not a PNG"),
        (_png(Image.new("L", (64, 64)))[:60], 1, "damaged"),
        (_png(Image.new("L", (8, 8)), note="0" * 2**21), 1, "damaged"),
        (_png(Image.new("RGB", (8, 8))), 1, "grey"),
        (_png(Image.new("RGBA", (8, 8))), 1, "grey"),
        (_png(Image.new("L", (8, 8))), 3, "RGB"),
        (_png(Image.new("L", (8, 8))), 2, "x-npy"),
        (_png(Image.new("L", (5000, 1))), 1, "at most 4096"),
        (_png(Image.new("L", (2048, 2049))), 1, "at most 4194304 values, such as 2048x2048 pixels"),
        (_png(Image.new("RGB", (1183, 1183))), 3, "at most 4194304 values, such as 1182x1182 pixels"),
        (_png(Image.new("1", (10000, 10000))), 1, "at most 4096"),
        (_png(Image.new("1", (20000, 20000))), 1, "at most 4096"),
    ],
)
def test_what_is_no_fitting_png_is_refused_with_what_to_send(body: bytes, channels: int, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        decode_png(body, HU, channels=channels)
