"""Compressed frames: the same values from every syntax, and an error instead of values that are not the file's."""

import sys
from io import BytesIO
from threading import Thread

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.uid import HTJ2K, JPEG2000Lossless, RLELossless
from syntaxes import ENCODERS, LOSSLESS, head, written

from rayology.data.dicom import Instance, decode
from rayology.data.dicom.unraisable import unraisable_errors_raised
from rayology.errors import UnreadableImage

GREY = head(40)
BYTES = (GREY >> 4).astype(np.uint8)
COLOUR = np.stack([BYTES, BYTES[::-1], BYTES.T], axis=-1)


def decoded(content: bytes) -> tuple[Instance, ...]:
    return tuple(decode(BytesIO(content)))


def rewritten(content: bytes, **attributes: object) -> bytes:
    dataset = dcmread(BytesIO(content))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    stream = DicomBytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("image", [GREY, GREY.astype(np.int16) - 2000, BYTES])
def test_every_lossless_syntax_gives_the_values_that_were_written(
    name: str, image: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int16]
) -> None:
    (instance,) = decoded(written(image, name))

    np.testing.assert_array_equal(instance.pixels[0], image.astype(np.float32) - 1024)


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_lossless_syntax_gives_the_colours_that_were_written(name: str) -> None:
    (instance,) = decoded(written(COLOUR, name))

    np.testing.assert_array_equal(instance.pixels, np.moveaxis(COLOUR, -1, 0))


@pytest.mark.parametrize(
    ("name", "image", "error"),
    [
        ("JPEG 8 bit", BYTES, 3),
        ("JPEG 12 bit", GREY, 4),
        ("JPEG-LS near", GREY, 2),
        ("JPEG 2000 lossy", GREY, 6),
        ("JPEG 8 bit", COLOUR, 4),
    ],
)
def test_lossy_syntaxes_come_near(name: str, image: NDArray[np.uint8] | NDArray[np.uint16], error: float) -> None:
    """The error is the mean over the image, and the largest may be twenty times as large."""
    (instance,) = decoded(written(image, name, attributes={"RescaleIntercept": 0}))

    shown = np.moveaxis(image.astype(np.float32).reshape(*image.shape[:2], -1), -1, 0)
    errors = np.abs(instance.pixels - shown)
    assert errors.mean() <= error
    assert errors.max() <= 20 * error


@pytest.mark.parametrize("name", [*LOSSLESS, *(set(ENCODERS) - {"JPEG 8 bit"} - set(LOSSLESS))])
def test_every_frame_of_every_syntax_is_read(name: str) -> None:
    first, second, third = decoded(written(GREY, name, frames=3))

    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.pixels, third.pixels)


def test_a_lossy_codec_that_overshoots_is_clipped_and_not_wrapped_to_black() -> None:
    image = np.zeros((16, 16), np.uint16)
    image[:, ::2] = 1023
    content = rewritten(written(image, "JPEG 12 bit"), BitsStored=10, HighBit=9, RescaleIntercept=0)

    (instance,) = decoded(content)

    assert instance.pixels.max() == 1023
    assert np.abs(instance.pixels[0] - image).max() < 100


@pytest.mark.parametrize("name", ["JPEG 12 bit", "JPEG lossless"])
def test_the_coding_and_not_the_syntax_says_whether_values_overshoot(name: str) -> None:
    image = np.zeros((16, 16), np.uint16)
    image[:, ::2] = 1023
    dataset = dcmread(BytesIO(written(image, "JPEG 12 bit", attributes={"RescaleIntercept": 0})))
    dataset.file_meta.TransferSyntaxUID = ENCODERS[name][0]
    dataset.BitsStored, dataset.HighBit = 10, 9

    (instance,) = decoded(saved(dataset))

    assert np.abs(instance.pixels[0] - image).max() < 100


@pytest.mark.parametrize("named", ["JPEG 12 bit", "JPEG lossless"])
@pytest.mark.parametrize("coded", ["JPEG 12 bit", "JPEG lossless"])
def test_the_sign_is_extended_before_values_are_clipped(coded: str, named: str) -> None:
    disc = np.hypot(*np.mgrid[-32:32, -32:32]) < 20
    image = np.where(disc, -300, -1000).astype(np.int16)
    dataset = dcmread(BytesIO(written((image & 0x0FFF).astype(np.uint16), coded, attributes={"RescaleIntercept": 0})))
    dataset.file_meta.TransferSyntaxUID = ENCODERS[named][0]
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1

    (instance,) = decoded(saved(dataset))

    assert np.abs(instance.pixels[0] - image).max() < (100 if coded == "JPEG 12 bit" else 1)


@pytest.mark.parametrize("name", ["JPEG 2000 lossy", "JPEG-LS near"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_a_codestream_of_more_bits_than_are_stored_is_clipped_too(name: str, dtype: type[np.uint16 | np.int16]) -> None:
    disc = np.hypot(*np.mgrid[-32:32, -32:32]) < 20
    low, high = (0, 4095) if dtype is np.uint16 else (-2048, 2047)
    image = np.where(disc, high, low).astype(np.uint16)
    content = written(image if dtype is np.uint16 else image.view(np.int16), name)
    content = rewritten(content, BitsStored=12, HighBit=11, RescaleIntercept=0)

    (instance,) = decoded(content)

    assert low <= instance.pixels.min()
    assert instance.pixels.max() <= high
    assert (np.abs(instance.pixels[0] - np.where(disc, high, low)) < 1500).all()


@pytest.mark.parametrize("name", ["JPEG 2000", "HTJ2K"])
def test_ybr_that_the_codec_leaves_alone_is_turned_into_rgb(name: str) -> None:
    ybr = np.zeros((16, 16, 3), np.uint8) + np.array([76, 85, 255], np.uint8)  # red
    content = rewritten(written(ybr, "raw"), PhotometricInterpretation="YBR_FULL")
    dataset = dcmread(BytesIO(content))
    encode = {
        "JPEG 2000": lambda: imagecodecs.jpeg2k_encode(ybr, reversible=True, mct=False, codecformat="j2k"),
        "HTJ2K": lambda: imagecodecs.htj2k_encode(ybr, reversible=True, rgb=False),
    }
    dataset.PixelData = encapsulate([bytes(encode[name]())])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = ENCODERS[name][0]

    (instance,) = decoded(saved(dataset))

    np.testing.assert_allclose(instance.pixels[:, 3, 3], [255, 0, 0], atol=1)


@pytest.mark.parametrize("name", ["RLE", *ENCODERS])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_codestream_cut_short_is_an_error_and_never_half_an_image(name: str, share: float) -> None:
    dataset = dcmread(BytesIO(written(BYTES if name == "JPEG 8 bit" else GREY, name)))
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([codestream[: int(share * len(codestream))]])
    stream = DicomBytesIO()
    dataset.save_as(stream)

    with pytest.raises(UnreadableImage):
        decoded(stream.getvalue())


@pytest.mark.parametrize("name", ["JPEG 2000", "HTJ2K"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_codestream_cut_short_is_an_error_even_with_an_end(name: str, share: float) -> None:
    dataset = dcmread(BytesIO(written(head(128), name)))
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([codestream[: int(share * len(codestream))] + b"\xff\xd9"])

    with pytest.raises(UnreadableImage):
        decoded(saved(dataset))


@pytest.mark.parametrize("name", ["RLE", *ENCODERS])
@pytest.mark.parametrize("attributes", [{"Rows": 39}, {"Columns": 80}, {"Rows": 8000, "Columns": 8000}])
def test_a_codestream_of_another_shape_than_the_header_says_is_refused(
    name: str, attributes: dict[str, object]
) -> None:
    content = written(BYTES if name == "JPEG 8 bit" else GREY, name)

    with pytest.raises(UnreadableImage):
        decoded(rewritten(content, **attributes))


def test_a_lossy_edge_is_clipped_and_not_wrapped_by_htj2k() -> None:
    image = np.where(np.hypot(*np.mgrid[-32:32, -32:32]) < 20, 255, 0).astype(np.uint8)
    dataset = dcmread(BytesIO(written(image, "raw", attributes={"RescaleIntercept": 0})))
    dataset.PixelData = encapsulate([bytes(imagecodecs.htj2k_encode(image, reversible=False, level=0.1))])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = HTJ2K

    (instance,) = decoded(saved(dataset))

    assert np.abs(instance.pixels[0] - image).max() < 128


def test_a_jpeg_that_calls_itself_jfif_is_turned_into_rgb_though_the_header_says_it_is() -> None:
    red = np.zeros((16, 16, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    jfif = rewritten(written(red, "JPEG 8 bit"), PhotometricInterpretation="RGB")
    plain = dcmread(BytesIO(jfif))
    plain.PixelData = encapsulate([bytes(imagecodecs.jpeg8_encode(red, colorspace="rgb", outcolorspace="rgb"))])
    assert b"JFIF" in jfif
    assert b"JFIF" not in plain.PixelData

    for content in (jfif, saved(plain)):
        (instance,) = decoded(content)
        np.testing.assert_allclose(instance.pixels[:, 3, 3], [255, 0, 0], atol=2)


@pytest.mark.parametrize("name", ["JPEG 8 bit", "JPEG 12 bit", "JPEG lossless"])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_grey_jpeg_is_read_whichever_jpeg_its_syntax_names(name: str, *, progressive: bool) -> None:
    file = BytesIO()
    Image.fromarray(BYTES).save(file, "jpeg", quality=95, progressive=progressive)
    dataset = dcmread(BytesIO(written(BYTES, "JPEG 8 bit", attributes={"RescaleIntercept": 0})))
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset.file_meta.TransferSyntaxUID = ENCODERS[name][0]

    (instance,) = decoded(saved(dataset))

    np.testing.assert_allclose(instance.pixels[0], np.asarray(Image.open(file)), atol=1)


def test_zeros_behind_a_codestream_are_no_part_of_it() -> None:
    dataset = dcmread(BytesIO(written(BYTES, "JPEG 8 bit")))
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    (whole,) = decoded(saved(dataset))
    dataset.PixelData = encapsulate([codestream + bytes(5000)])

    (padded,) = decoded(saved(dataset))

    np.testing.assert_array_equal(padded.pixels, whole.pixels)


def test_the_high_bit_of_a_codestream_says_nothing_but_that_of_rle_is_the_retired_form() -> None:
    with pytest.raises(UnreadableImage, match="High Bit 3 with Bits Stored 8"):
        decoded(rewritten(written(BYTES, "RLE"), HighBit=3))
    content = rewritten(written(BYTES, "JPEG-LS", attributes={"RescaleIntercept": 0}), HighBit=3)

    (instance,) = decoded(content)

    np.testing.assert_array_equal(instance.pixels[0], BYTES)


def test_a_codestream_of_another_coding_than_its_syntax_is_refused() -> None:
    dataset = dcmread(BytesIO(written(GREY, "JPEG-LS")))
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    stream = DicomBytesIO()
    dataset.save_as(stream)

    with pytest.raises(UnreadableImage, match="not coded as its transfer syntax says"):
        decoded(stream.getvalue())


def test_missing_frames_are_counted() -> None:
    content = rewritten(written(GREY, "JPEG-LS", frames=2), NumberOfFrames=5)

    with pytest.raises(UnreadableImage, match=r"2 of 5 frames|ValueError"):
        decoded(content)


def rle(*segments: bytes, count: int | None = None) -> Dataset:
    dataset = dcmread(BytesIO(written(np.zeros((2, 4), np.uint8), "raw")))
    offsets = np.cumsum([64, *map(len, segments)])[:15]
    header = np.zeros(16, "<u4")
    header[0] = len(segments) if count is None else count
    header[1 : 1 + len(segments)] = offsets[: len(segments)]
    dataset.PixelData = encapsulate([header.tobytes() + b"".join(segments)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.RescaleIntercept = 0
    return dataset


def saved(dataset: Dataset) -> bytes:
    stream = DicomBytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


@pytest.mark.parametrize("end", [b"", b"\x00", b"\x20"])
def test_rle_may_end_in_a_byte_that_makes_it_even(end: bytes) -> None:
    (instance,) = decoded(saved(rle(b"\xfd\x07\x03\x01\x02\x03\x04" + end)))  # four times 7, then 1 2 3 4

    np.testing.assert_array_equal(instance.pixels[0], [[7, 7, 7, 7], [1, 2, 3, 4]])


@pytest.mark.parametrize(
    "dataset",
    [
        rle(b"\xfd\x07"),  # half of the values
        rle(b"\xf0\x07\xf0\x07"),  # too many
        rle(b"\x07\x01\x02"),  # literals that end early
        rle(b"\xfd\x07\xfd\x07", b"\xfd\x07\xfd\x07"),  # two segments for one byte
        rle(b"\xfd\x07\xfd\x07", count=0),
        rle(b"\xfd\x07\xfd\x07", count=2**31),
    ],
)
def test_rle_that_contradicts_its_header_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UnreadableImage):
        decoded(saved(dataset))


def test_what_a_function_can_only_print_is_raised_and_what_others_print_is_left_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: printed.append(str(unraisable.exc_value)))

    with pytest.raises(OSError, match="inside"), unraisable_errors_raised():
        _Fails("inside")
    with unraisable_errors_raised():
        thread = Thread(target=_Fails, args=("in another thread",))
        thread.start()
        thread.join()
    _Fails("outside")

    assert printed == ["in another thread", "outside"]


class _Fails:
    """What Python can only print an error of: its end."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __del__(self) -> None:
        raise OSError(self._words)
