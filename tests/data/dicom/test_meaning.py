"""What the numbers of an image mean: the cases in which readers differ, each with values worked out by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rayology.data.dicom import read
from rayology.data.dicom.layout import layout
from rayology.data.dicom.pixels import padding
from rayology.errors import UnreadableImage

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)
RED_GREEN_BLUE = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)


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


def test_a_modality_lut_beats_the_rescale(tmp_path: Path, write_dicom: WriteDicom) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 2, 16], "US"
    table.add_new("LUTData", "US", [100, 200, 300, 1000])
    (instance,) = read(write_dicom(tmp_path / "a.dcm", RAMP, ModalityLUTSequence=Sequence([table])))

    np.testing.assert_array_equal(instance.pixels[0, 0], [100, 100, 100, 200])
    assert instance.pixels[0, 3, 3] == 1000


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


def test_padding_that_was_written_unsigned_is_masked_in_signed_pixels(tmp_path: Path, write_dicom: WriteDicom) -> None:
    dataset = dcmread(write_dicom(tmp_path / "a.dcm", RAMP.astype(np.int16)))
    dataset.add_new("PixelPaddingValue", "US", 64036)

    masked = padding(dataset, layout(dataset), np.array([[-1500, 0]], np.int16))

    assert masked is not None
    np.testing.assert_array_equal(masked, [[True, False]])


def test_a_frame_of_padding_alone_is_zero_and_invalid(tmp_path: Path, write_dicom: WriteDicom) -> None:
    (instance,) = read(write_dicom(tmp_path / "a.dcm", np.full((4, 4), 9, np.uint16), PixelPaddingValue=9))

    assert not instance.valid.any()
    assert not instance.pixels.any()


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


def test_a_palette_gives_the_colours_that_its_indices_stand_for(tmp_path: Path, write_dicom: WriteDicom) -> None:
    tables = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, entries in (("Red", [0, 65535]), ("Green", [65535, 0]), ("Blue", [256, 512]))
        for part, value in (
            ("Descriptor", [2, 0, 16]),
            ("Data", np.array(entries, "<u2").tobytes()),
        )
    }
    indices = np.array([[0, 1]], np.uint8)
    (instance,) = read(
        write_dicom(tmp_path / "a.dcm", indices, PhotometricInterpretation="PALETTE COLOR", Modality="US", **tables)
    )

    np.testing.assert_array_equal(instance.pixels[:, 0, 0], [0, 255, 1])
    np.testing.assert_array_equal(instance.pixels[:, 0, 1], [255, 0, 2])


@pytest.mark.parametrize("by_plane", [0, 1])
def test_colour_is_the_same_by_pixel_and_by_plane(tmp_path: Path, write_dicom: WriteDicom, by_plane: int) -> None:
    laid_out = np.moveaxis(RED_GREEN_BLUE, -1, 0) if by_plane else RED_GREEN_BLUE
    file = write_dicom(
        tmp_path / "a.dcm",
        np.zeros((2, 2), np.uint8),
        PixelData=laid_out.tobytes(),
        SamplesPerPixel=3,
        PlanarConfiguration=by_plane,
        PhotometricInterpretation="RGB",
        Modality="OT",
    )

    (instance,) = read(file)

    np.testing.assert_array_equal(instance.pixels, np.moveaxis(RED_GREEN_BLUE, -1, 0))
    assert instance.valid.all()


def test_ybr_is_turned_into_rgb(tmp_path: Path, write_dicom: WriteDicom) -> None:
    grey, red = (120, 128, 128), (76, 85, 255)  # DICOM PS3.3 C.7.6.3.1.2: Y = 0.299 R + 0.587 G + 0.114 B
    file = write_dicom(
        tmp_path / "a.dcm",
        np.zeros((1, 2), np.uint8),
        PixelData=bytes((*grey, *red)),
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL",
        Modality="US",
    )

    (instance,) = read(file)

    np.testing.assert_array_equal(instance.pixels[:, 0, 0], [120, 120, 120])
    np.testing.assert_allclose(instance.pixels[:, 0, 1], [255, 0, 0], atol=1)


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floats_are_read_as_they_are_and_what_is_not_finite_is_masked(
    tmp_path: Path, write_dicom: WriteDicom, keyword: str, dtype: str
) -> None:
    values = np.array([[-1.5, np.nan], [np.inf, 3e7]], dtype)
    file = write_dicom(
        tmp_path / "a.dcm",
        values,
        **{keyword: values.tobytes()},
        PixelData=None,
        BitsStored=None,
        HighBit=None,
        PixelRepresentation=None,
        Modality="MR",
    )

    (instance,) = read(file)

    np.testing.assert_array_equal(instance.valid, [[True, False], [False, True]])
    np.testing.assert_array_equal(instance.pixels[0], np.array([[-1.5, -1.5], [-1.5, 3e7]], np.float32))


@pytest.mark.parametrize("slope", [1.0, 2.0, -3.0, 0.1, 1 / 3, 1e-6])
@pytest.mark.parametrize("intercept", [0.0, -1024.0, 0.7])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
def test_modality_units_are_those_of_float64_rounded_once(
    tmp_path: Path, write_dicom: WriteDicom, slope: float, intercept: float, dtype: type[np.integer]
) -> None:
    limits = np.iinfo(dtype)
    values = np.linspace(limits.min, limits.max, 12).astype(dtype).reshape(3, 4)
    file = write_dicom(tmp_path / "a.dcm", values, RescaleSlope=f"{slope:.10g}", RescaleIntercept=intercept)

    (instance,) = read(file)

    exact = values.astype(np.float64) * float(f"{slope:.10g}") + intercept
    np.testing.assert_array_equal(instance.pixels[0], exact.astype(np.float32))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"PhotometricInterpretation": "CMYK"}, "photometric interpretation"),
        ({"PhotometricInterpretation": "RGB"}, "RGB has 3 samples a pixel, not 1"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "Bits Allocated 12"),
        ({"BitsStored": 17}, "Bits Stored 17"),
    ],
)
def test_a_form_of_pixels_that_nobody_defines_is_refused(
    tmp_path: Path, write_dicom: WriteDicom, attributes: dict[str, object], message: str
) -> None:
    with pytest.raises(UnreadableImage, match=message):
        read(write_dicom(tmp_path / "a.dcm", RAMP, **attributes))


def _group(**sequences: dict[str, object]) -> Dataset:
    group = Dataset()
    for name, values in sequences.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(group, name, Sequence([item]))
    return group
