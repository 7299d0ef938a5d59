"""Lookup tables as files really have them: empty, of another depth than they say, packed, in words too wide."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian
from tests.data.dicom.stored_values import stored

from rayology.data.dicom import read
from rayology.errors import UnreadableImage

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)


def table(descriptor: list[int], representation: str, entries: object) -> Sequence:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = descriptor, "US"
    item.add_new("LUTData", representation, entries)
    return Sequence([item])


@pytest.mark.parametrize(
    "entries",
    [
        table([4, 2, 10], "OW", np.array([100, 200, 300, 1000], "<u2").tobytes()),
        table([4, 2, 8], "US", [100, 200, 300, 1000]),
        table([4, 2, 8], "OW", np.array([100, 200, 300, 1000], "<u2").tobytes()),
    ],
    ids=["bits that are used", "a depth too small", "a depth too small, as words"],
)
def test_entries_are_as_wide_as_their_data_whatever_depth_is_named(
    tmp_path: Path, write_dicom: WriteDicom, entries: Sequence
) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=entries))

    np.testing.assert_array_equal(instance.pixels[0, :2], [[100, 100, 100, 200], [300, 1000, 1000, 1000]])


@pytest.mark.parametrize(("representation", "packed"), [("OW", b"\x0a\x14\x1e\x28"), ("US", [0x140A, 0x281E])])
def test_two_entries_of_8_bits_may_share_a_word(
    tmp_path: Path, write_dicom: WriteDicom, representation: str, packed: object
) -> None:
    for count, last in ((4, 40), (3, 30)):
        entries = table([count, 2, 8], representation, packed)
        (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=entries))

        np.testing.assert_array_equal(instance.pixels[0, :2], [[10, 10, 10, 20], [30, last, last, last]])


def test_words_of_big_endian_are_read_as_they_are_written(tmp_path: Path, write_dicom: WriteDicom) -> None:
    entries = table([4, 2, 16], "OW", np.array([100, 200, 300, 1000], ">u2").tobytes())
    attributes = {"ModalityLUTSequence": entries, "TransferSyntaxUID": ExplicitVRBigEndian}
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP.astype(">u2"), **attributes))

    np.testing.assert_array_equal(instance.pixels[0, :2], [[100, 100, 100, 200], [300, 1000, 1000, 1000]])


@pytest.mark.parametrize("empty", [Sequence([]), Sequence([Dataset()])])
def test_an_empty_table_leaves_the_rescale(tmp_path: Path, write_dicom: WriteDicom, empty: Sequence) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=empty, RescaleSlope=2))

    np.testing.assert_array_equal(instance.pixels[0], 2 * RAMP)


def test_a_table_shorter_than_it_says_is_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=table([5, 0, 16], "US", [1, 2, 3, 4]))

    with pytest.raises(UnreadableImage, match="4 of 5 entries"):
        read(file)


@pytest.mark.parametrize(
    ("depth", "entries", "shown"),
    [
        (8, np.array([0, 50, 250], "<u2"), [0, 50, 250]),
        (16, np.array([0, 50 << 8, 250 << 8], "<u2"), [0, 50, 250]),
    ],
)
def test_colours_of_8_bits_may_stand_in_words_of_16(
    tmp_path: Path, write_dicom: WriteDicom, depth: int, entries: np.ndarray, shown: list[int]
) -> None:
    colours = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [3, 0, depth]), ("Data", entries.tobytes()))
    }
    indices = np.array([[0, 1], [2, 2]], np.uint8)
    file = write_dicom(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **colours)

    (instance,) = read(file)

    np.testing.assert_array_equal(instance.pixels, np.array(shown, np.float32)[indices][None].repeat(3, axis=0))
    np.testing.assert_array_equal(stored(file)[0, ..., 0], indices)


@pytest.mark.parametrize("count", [256, 1024])
def test_indices_beyond_a_palette_take_its_last_colour(tmp_path: Path, write_dicom: WriteDicom, count: int) -> None:
    entries = (np.arange(count) * 256 // count).astype(np.uint8)
    colours = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [count, 0, 8]), ("Data", entries.tobytes()))
    }
    indices = np.array([[0, 100], [255, 300], [511, 2000]], np.uint16)
    file = write_dicom(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **colours)

    (instance,) = read(file)

    np.testing.assert_array_equal(instance.pixels[0], entries[np.minimum(indices, count - 1)])


def test_a_palette_shorter_than_it_says_is_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    colours = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 8]), ("Data", bytes(100)))
    }
    file = write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="PALETTE COLOR", **colours)

    with pytest.raises(UnreadableImage, match="100 of 256 entries"):
        read(file)
