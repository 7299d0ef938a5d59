"""Headers that are no DICOM, and those that would make a reader do more than an image is worth."""

import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.filebase import DicomBytesIO
from syntaxes import NATIVE, head, written

from rayology.data.dicom import decode, read
from rayology.data.dicom.header import AT_ONCE
from rayology.errors import DataError, NotDicom, UnreadableImage

GREY = head(24)
MIB = 2**20


def peak_bytes(content: bytes) -> int:
    """Return the most memory that Python took while a file was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            list(decode(BytesIO(content)))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", NATIVE)
def test_a_file_without_preamble_is_read_where_none_is_required(name: str) -> None:
    content = written(GREY, name)[132:]

    (instance,) = decode(BytesIO(content), require_preamble=False)

    np.testing.assert_array_equal(instance.pixels[0], GREY - 1024.0)
    with pytest.raises(NotDicom, match="no DICOM preamble"):
        list(decode(BytesIO(content)))


@pytest.mark.parametrize("content", [b"", b"\x02\x00", b"PK\x03\x04" * 100, b"no image at all " * 50])
def test_what_does_not_start_as_dicom_does_is_none_even_without_a_preamble(content: bytes) -> None:
    with pytest.raises(DataError):
        list(decode(BytesIO(content), require_preamble=False))


@pytest.mark.slow
def test_a_deflated_bomb_is_refused_before_it_has_inflated() -> None:
    whole = written(GREY, "deflated")
    start = 132 + 12 + struct.unpack_from("<L", whole, 140)[0]  # behind file meta information
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflater.compress(zlib.decompress(whole[start:], -zlib.MAX_WBITS))
    bomb += b"".join(deflater.compress(bytes(MIB)) for _ in range(200)) + deflater.flush()

    assert len(bomb) < MIB
    assert peak_bytes(whole[:start] + bomb) < 32 * MIB


def test_a_deflated_file_that_ends_early_is_refused() -> None:
    whole = written(GREY, "deflated")

    with pytest.raises(UnreadableImage, match="ends early"):
        list(decode(BytesIO(whole[:-20])))


def test_a_large_image_may_be_deflated_well() -> None:
    blank = np.zeros((1024, 1024), np.uint16)

    (instance,) = decode(BytesIO(written(blank, "deflated")))

    assert not (instance.pixels + 1024).any()


def test_a_small_codestream_of_a_huge_image_is_refused_before_it_is_decoded() -> None:
    dataset = dcmread(BytesIO(written(GREY, "JPEG 2000")))
    dataset.Rows = dataset.Columns = 16384
    at = dataset.PixelData.index(b"\xff\x4f\xff\x51") + 8
    sizes = struct.pack(">2L", 16384, 16384)
    dataset.PixelData = dataset.PixelData[:at] + sizes + dataset.PixelData[at + 8 :]
    stream = DicomBytesIO()
    dataset.save_as(stream)

    assert peak_bytes(stream.getvalue()) < 64 * MIB


@pytest.mark.parametrize("depth", [2_000, 60_000])
def test_sequences_nested_deeper_than_any_are_refused(depth: int) -> None:
    whole = written(GREY, "raw")
    opening = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    start = whole.index(b"\x08\x00\x16\x00UI")

    assert peak_bytes(whole[:start] + opening * depth + whole[start:]) < 64 * MIB


def test_zeros_behind_the_last_element_are_not_read() -> None:
    content = written(GREY, "raw")

    stream = BytesIO(content + bytes(AT_ONCE))  # less is read at once, whatever it is

    (instance,) = decode(stream)

    np.testing.assert_array_equal(instance.pixels[0], GREY - 1024.0)
    assert stream.tell() <= len(content) + 16


class Growing(BytesIO):
    """A file that was empty when it was asked for its size, as one that is still being written may be."""

    def seek(self, offset: int, whence: int = 0) -> int:
        at = super().seek(offset, whence)
        return at if whence != 2 else 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 <= size <= AT_ONCE, "read without a bound"
        return super().read(size)


def test_a_file_is_read_no_further_than_it_said_it_goes() -> None:
    with pytest.raises(DataError):
        list(decode(Growing(written(GREY, "raw"))))


def test_more_elements_than_any_image_has_are_refused() -> None:
    content = written(GREY, "raw")
    at = content.index(b"\xe0\x7f\x10\x00")
    empty = b"".join(struct.pack("<HH2sH", 0x0029, 0x1000 + n % 0x7000, b"LO", 0) for n in range(2**14))

    assert peak_bytes(content[:at] + empty + content[at:]) < 64 * MIB


def test_a_sparse_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.dcm").open("wb") as opened:
        opened.write(written(GREY, "raw"))
        opened.truncate(2**31)

    with pytest.raises(UnreadableImage, match="takes more than"):
        read(tmp_path / "a.dcm")


@pytest.mark.parametrize("rows", [60000, 0])
def test_an_image_of_absurd_size_is_refused_before_decoding(rows: int) -> None:
    content = written(GREY, "raw", attributes={"Rows": rows, "Columns": 60000})

    with pytest.raises(UnreadableImage, match=r"60000 x 60000|Rows is missing or 0"):
        list(decode(BytesIO(content)))


def test_a_file_whose_length_is_wrong_anywhere_is_an_image_or_an_error() -> None:
    whole = written(GREY, "raw")
    outcomes: set[object] = set()
    for length in range(0, len(whole), 7):
        try:
            outcomes.add(len(list(decode(BytesIO(whole[:length])))))
        except DataError as error:
            outcomes.add(type(error).__name__)

    assert outcomes <= {"NotDicom", "NotAnImage", "UnreadableImage"}


def test_big_endian_is_written_as_the_test_thinks() -> None:
    assert dcmread(BytesIO(written(GREY, "big endian"))).file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
