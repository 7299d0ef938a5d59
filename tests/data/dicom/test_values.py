"""Values of a header are the same, read straight from their bytes or converted by pydicom."""

from io import BytesIO

import pytest
from pydicom import Dataset
from syntaxes import head, written

from rayology.data.dicom.header import read_header
from rayology.data.dicom.values import content, decimals, integer, text, whole
from rayology.data.suppression import suppress_output

ATTRIBUTES = {
    "AcquisitionNumber": -3,
    "DiffusionBValue": 700.5,
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "InstanceNumber": 0,
    "KVP": None,
    "PatientID": "Jürgen",
    "PixelSpacing": [0.5, 0.25],
    "SmallestImagePixelValue": None,
    "SpecificCharacterSet": "ISO_IR 192",
}


def header(syntax: str) -> Dataset:
    return read_header(BytesIO(written(head(8), syntax, frames=2, attributes=ATTRIBUTES)))


def values(dataset: Dataset) -> list[object]:
    return [
        *(text(dataset, keyword) for keyword in ("Modality", "PatientID", "SeriesDescription", "ImageType")),
        *(integer(dataset, keyword) for keyword in ("Rows", "PixelPaddingValue", "SmallestImagePixelValue")),
        *(whole(dataset, keyword) for keyword in ("NumberOfFrames", "AcquisitionNumber", "InstanceNumber")),
        *(decimals(dataset, keyword) for keyword in ("PixelSpacing", "AcquisitionNumber", "DiffusionBValue")),
        *(decimals(dataset, keyword) for keyword in ("KVP", "EchoTime", "Modality")),
        content(dataset, "FloatPixelData"),
    ]


@pytest.mark.parametrize("syntax", ["raw", "implicit", "big endian"])
def test_values_are_those_of_the_file_converted_or_not(syntax: str) -> None:
    converted = header(syntax)
    for _ in converted.iterall():  # which converts each
        pass

    texts = ["CT", "Jürgen", "", "ORIGINAL\\PRIMARY"]
    expected = [*texts, 8, None, None, 2, -3, 0, (0.5, 0.25), (-3,), (700.5,), (), (), (), b""]
    assert values(header(syntax)) == expected
    assert values(converted) == expected


def test_pixels_are_their_bytes_whatever_their_representation() -> None:
    pixels = head(8).tobytes()

    assert content(read_header(BytesIO(written(head(8), "raw").replace(b"OW\0\0", b"UN\0\0"))), "PixelData") == pixels


def test_a_count_that_is_no_number_is_an_error() -> None:
    dataset = read_header(BytesIO(written(head(8), "raw", frames=1234).replace(b"1234", b"many")))

    with suppress_output(), pytest.raises(ValueError, match="many"):
        whole(dataset, "NumberOfFrames")
