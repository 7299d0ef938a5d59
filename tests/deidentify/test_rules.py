"""Identity in pixels and documents: what is held back, and what is blackened."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from rayology.config import validated
from rayology.deidentify import ProfileConfig, Rectangle, Rule
from rayology.deidentify.files import content
from rayology.deidentify.masking import masked
from rayology.deidentify.treatment import Treated, treat
from rayology.errors import ConfigError, UnreadableImage

WriteDicom = Callable[..., Path]
RAMP = np.arange(1, 17, dtype=np.uint16).reshape(4, 4)
CORNER = Rectangle(top=0, left=1, rows=2, columns=3)


def treated(file: Path, *rules: Rule) -> Treated:
    return treat(file, ProfileConfig(rules=rules).build(), b"key")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "burned-in annotation"),
        ({"RecognizableVisualFeatures": "YES"}, "recognizable face"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
        ({"ConversionType": "WSD"}, "secondary capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen save"),
        ({"ImageType": ["DERIVED", "PRIMARY", "LABEL"]}, "photograph of a slide's label"),
        ({"Modality": "US"}, "text in the pixels is usual in this modality"),
        ({"SOPClassUID": EncapsulatedPDFStorage}, "encapsulated document"),
        ({"SOPClassUID": BasicTextSRStorage}, "structured report"),
        ({"SOPClassUID": MediaStorageDirectoryStorage}, "a directory of files"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "a private kind of object"),
    ],
)
def test_what_may_show_a_name_is_held_back(
    tmp_path: Path, write_dicom: WriteDicom, attributes: dict[str, object], reason: str
) -> None:
    held = treated(write_dicom(tmp_path / "a.dcm", RAMP, **attributes))

    assert (held.outcome.reason, held.written) == (reason, b"")


def test_an_overlay_in_the_bits_of_the_pixels_is_held_back(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    dataset.add_new(0x60020102, "US", 15)
    dataset.save_as(tmp_path / "b.dcm")

    assert "overlay" in treated(tmp_path / "b.dcm").outcome.reason


def test_an_ordinary_image_may_leave(tmp_path: Path, write_dicom: WriteDicom) -> None:
    passed = treated(write_dicom(tmp_path / "a.dcm", RAMP, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]))

    assert passed.written
    assert passed.outcome.reason == ""


def test_a_rule_of_ones_own_comes_first(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, Modality="US", Manufacturer="Acme Ltd.")
    clean = Rule(reason="clean scanner", when={"Modality": "US", "Manufacturer": "acme.*"}, action="pass")
    other = Rule(reason="clean scanner", when={"Modality": "US", "Manufacturer": "acme"}, action="pass")

    assert treated(file, clean).written
    assert not treated(file, other).written
    assert treated(file, Rule(reason="nothing at all", when={}), clean).outcome.reason == "nothing at all"


def test_a_rectangle_is_blackened_and_the_rest_stays(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP, Modality="US")
    rule = Rule(reason="banner", when={"Modality": "US"}, action="mask", rectangles=(CORNER,))

    result = treated(file, rule)

    copy = content(result.written).dataset
    expected = RAMP.copy()
    expected[0:2, 1:4] = RAMP.min()
    assert result.outcome.is_masked
    np.testing.assert_array_equal(copy.pixel_array, expected)
    assert copy.BurnedInAnnotation == "NO"
    assert [method.CodeValue for method in copy.DeidentificationMethodCodeSequence] == ["113100", "113101"]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_pixels_are_masked_in_the_clear(tmp_path: Path, write_dicom: WriteDicom, syntax: str) -> None:
    ramps = np.tile(np.stack([RAMP, RAMP + 1]), (1, 16, 16))  # the encoder makes room for larger images alone
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", ramps))
    if syntax == JPEGLSLossless:
        dataset.PixelData = encapsulate([imagecodecs.jpegls_encode(frame) for frame in ramps])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax)
    before = dataset.PixelData

    copy = masked(dataset, [CORNER])

    assert copy.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (copy.pixel_array[:, 0:2, 1:4] == ramps.min()).all()
    np.testing.assert_array_equal(copy.pixel_array[:, 2:], ramps[:, 2:])
    assert dataset.PixelData == before


@pytest.mark.parametrize("planar", [0, 1])
def test_every_colour_of_a_rectangle_is_blackened(tmp_path: Path, write_dicom: WriteDicom, planar: int) -> None:
    colours = np.arange(1, 46, dtype=np.uint8).reshape(3, 5, 3)
    stored = colours if planar == 0 else np.moveaxis(colours, -1, 0)
    shape = {"Rows": 3, "Columns": 5, "NumberOfFrames": None, "SamplesPerPixel": 3, "PlanarConfiguration": planar}
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="RGB", **shape))

    copy = masked(dataset, [Rectangle(top=1, left=2, rows=9, columns=2)])

    expected = colours.copy()
    expected[1:, 2:4] = colours.min()
    np.testing.assert_array_equal(copy.pixel_array, expected)


def test_black_is_the_darkest_there_is(tmp_path: Path, write_dicom: WriteDicom) -> None:
    signed = RAMP.astype(np.int16) - 1000

    dark = masked(dcmread(write_dicom(tmp_path / "a.dcm", signed, PixelRepresentation=1)), [CORNER])
    turned = masked(dcmread(write_dicom(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")), [CORNER])

    assert (dark.pixel_array[0:2, 1:4] == signed.min()).all()
    assert (turned.pixel_array[0:2, 1:4] == RAMP.max()).all()


def test_a_rectangle_that_misses_the_image_holds_it_back(tmp_path: Path, write_dicom: WriteDicom) -> None:
    file = write_dicom(tmp_path / "a.dcm", RAMP)
    beside = Rectangle(top=0, left=RAMP.shape[1], rows=2, columns=2)

    result = treated(file, Rule(reason="banner", when={}, action="mask", rectangles=(beside,)))

    assert not result.written
    assert "outside 4 x 4 pixels" in result.outcome.reason


def test_pixels_that_cannot_be_masked_are_refused(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="YBR_FULL"))

    with pytest.raises(UnreadableImage, match="hold such files back"):
        masked(dataset, [CORNER])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reason": "x", "when": {"Modalty": "US"}}, "Modalty: is not a DICOM keyword"),
        ({"reason": "x", "when": {"Modality": "("}}, "Modality: is not a regular expression"),
        ({"reason": "x", "action": "pass"}, "when: needs a value"),
        ({"reason": "x", "when": {}, "action": "mask"}, "at least one"),
    ],
)
def test_a_rule_that_cannot_be_followed_says_why(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(Rule, values, where="a rule")


def test_a_class_that_the_file_meta_alone_names_is_seen(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP))
    del dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.save_as(tmp_path / "b.dcm")

    assert treated(tmp_path / "b.dcm").outcome.reason == "a directory of files"


def test_an_attribute_that_is_missing_is_empty_to_a_rule() -> None:
    dataset = Dataset()

    assert Rule(reason="x", when={"Modality": ""}).fits(dataset)
    assert not Rule(reason="x", when={"Modality": ".+"}).fits(dataset)
