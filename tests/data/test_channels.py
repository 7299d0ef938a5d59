"""What a picture holds decides its channels, not how it is stored."""

import itertools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.data.bodies import SMALL, WriteDicom, prepared
from tests.data.series_to_cut import cut

from rayology.data import FolderConfig, ImageFolderConfig, ImageMaskPairsConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.imaging import without_equal_channels

Bytes = NDArray[np.uint8]
ONE = "three equal channels became one"
THREE = "grey was repeated in three channels, as others are in colour"


def grey(seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)


def in_three(pixels: Bytes) -> Bytes:
    return np.stack([pixels] * 3, -1)


def colour(seed: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


def of_pictures(folder: Path, *pictures: Image.Image) -> PreparedDataset:
    (folder / "images").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(folder / "images" / f"{number:02}.png")
    return prepare(ImageFolderConfig(path=str(folder / "images"), labels="none"), SMALL, folder / "root")


def stored(data: PreparedDataset) -> set[bytes]:
    splits = [data.split(name) for name in data.info.splits]
    return {each.astype(np.uint8).tobytes() for split in splits for each in split.stored(np.arange(len(split)))}


KINDS: dict[str, Callable[[Bytes], Image.Image]] = {
    "RGB": lambda pixels: Image.fromarray(in_three(pixels)),
    "RGBA": lambda pixels: Image.fromarray(in_three(pixels)).convert("RGBA"),
    "palette": lambda pixels: Image.fromarray(pixels).convert("P"),
    "LA": lambda pixels: Image.fromarray(pixels).convert("LA"),
    "L": Image.fromarray,
}


@pytest.mark.parametrize("kind", KINDS)
def test_grey_is_one_channel_however_it_is_stored(tmp_path: Path, kind: str) -> None:
    data = of_pictures(tmp_path, *(KINDS[kind](grey(number)) for number in range(6)))

    assert data.info.image.channels == 1
    assert data.info.changed == ({} if kind in {"L", "LA"} else {ONE: 6})
    assert stored(data) == {grey(number).tobytes() for number in range(6)}


def test_a_source_of_grey_stored_in_both_ways_loses_nothing(tmp_path: Path) -> None:
    kinds = list(KINDS.values())
    data = of_pictures(tmp_path, *(kinds[number % len(kinds)](grey(number)) for number in range(10)))

    assert (data.info.image.channels, data.info.counts.images, data.info.counts.skipped) == (1, 10, 0)
    assert data.info.changed == {ONE: 6}


@pytest.mark.parametrize("num_in_colour", [1, 5])
def test_grey_among_colour_is_repeated_and_nothing_is_lost(tmp_path: Path, num_in_colour: int) -> None:
    pictures = [Image.fromarray(colour(number)) for number in range(num_in_colour)]
    pictures[1:1] = [KINDS["RGB"](grey(20)), KINDS["L"](grey(21)), KINDS["L"](grey(22))]

    data = of_pictures(tmp_path, *pictures)

    assert (data.info.image.channels, data.info.counts.images) == (3, num_in_colour + 3)
    assert data.info.changed == {THREE: 2}
    shown = {np.moveaxis(colour(number), -1, 0).tobytes() for number in range(num_in_colour)}
    assert stored(data) == shown | {np.stack([grey(number)] * 3).tobytes() for number in (20, 21, 22)}


def test_masks_stay_with_grey_pictures_among_colour(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for number in range(6):
        pixels = grey(number) if number % 2 else colour(number)
        Image.fromarray(pixels).save(tmp_path / "pairs" / f"{number}.png")
        Image.fromarray((pixels if pixels.ndim == 2 else pixels[..., 0]) > 99).save(
            tmp_path / "pairs" / f"{number}_mask.png"
        )

    data = prepare(ImageMaskPairsConfig(path=str(tmp_path / "pairs"), image="{name}.png"), SMALL, tmp_path / "root")

    for name in data.info.splits:
        split = data.split(name)
        rows = np.arange(len(split))
        np.testing.assert_array_equal(split.masks(rows), split.stored(rows)[:, 0] > 99)


@pytest.mark.parametrize("quality", [10, 50, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_grey_that_a_codec_has_coded_as_colour_is_grey(quality: int, subsampling: int) -> None:
    stream = BytesIO()
    Image.fromarray(in_three(grey(0))).save(stream, "jpeg", quality=quality, subsampling=subsampling)
    of_jpeg = np.asarray(Image.open(stream))
    of_jpeg_ls = imagecodecs.jpegls_decode(imagecodecs.jpegls_encode(in_three(grey(0)), level=2))
    rounded_down = np.stack([of_jpeg[..., 0], np.full((16, 16), 127), np.full((16, 16), 127)], -1).astype(np.uint8)
    of_chroma = np.asarray(Image.fromarray(rounded_down, "YCbCr").convert("RGB"))

    for decoded in (of_jpeg, of_jpeg_ls, of_chroma):
        pixels = np.moveaxis(decoded, -1, 0).astype(np.float32)
        np.testing.assert_array_equal(without_equal_channels(pixels), pixels[1:2])


@pytest.mark.parametrize(
    "tint", [(237, 235, 247), (253, 228, 252), (255, 248, 240)], ids=["haematoxylin", "eosin", "skin"]
)
@pytest.mark.parametrize("where", [np.s_[:], np.s_[37:39, 5:7]], ids=["everywhere", "in four pixels"])
def test_faint_colour_and_few_coloured_pixels_are_colour(
    tint: tuple[int, ...], where: slice | tuple[slice, ...]
) -> None:
    pixels = np.full((64, 64, 3), 240, np.float32)
    pixels[where] = tint

    assert without_equal_channels(np.moveaxis(pixels, -1, 0)).shape == (3, 64, 64)


def test_grey_and_colour_of_16_bits_are_told_apart_as_those_of_8_bits() -> None:
    pixels = 257 * np.stack([grey(0).astype(np.float32)] * 3)
    stained = np.stack([pixels[0], pixels[0], np.maximum(pixels[0] - 257 * 11, 0)])
    shifted = pixels + np.array([-514, 0, 514], np.float32).reshape(3, 1, 1)

    assert without_equal_channels(shifted).shape[0] == 1
    assert without_equal_channels(stained).shape[0] == 3


RGB = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB", "Modality": "US"}


def captured(file: Path, write_dicom: WriteDicom, pixels: Bytes, patient: int, **attributes: object) -> None:
    rows, columns, _ = pixels.shape
    write_dicom(
        file,
        np.zeros((rows, columns), np.uint8),
        PixelData=pixels.tobytes(),
        **(RGB | {"PatientID": f"{patient}", "SeriesInstanceUID": f"2.25.{patient}"} | attributes),
    )


@pytest.mark.parametrize("has_overlay", [False, True])
def test_grey_ultrasound_in_rgb_is_grey_and_with_a_coloured_overlay_it_is_colour(
    tmp_path: Path, write_dicom: WriteDicom, *, has_overlay: bool
) -> None:
    for patient in range(6):
        pixels = in_three(grey(patient))
        if has_overlay and patient == 3:
            pixels[2:5, 2:5] = (200, 40, 40)
        captured(tmp_path / "images" / f"{patient}.dcm", write_dicom, pixels, patient)

    info = prepared(tmp_path / "images").info

    assert (info.image.channels, info.counts.images) == ((3, 6) if has_overlay else (1, 6))
    assert info.changed == ({} if has_overlay else {ONE: 6})


def test_a_grey_palette_is_grey(tmp_path: Path, write_dicom: WriteDicom) -> None:
    ramp = np.arange(256, dtype="<u2") * 257
    tables = {
        f"{name}PaletteColorLookupTable{part}": value
        for name in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", ramp.tobytes()))
    }
    for patient in range(6):
        write_dicom(
            tmp_path / "images" / f"{patient}.dcm",
            grey(patient),
            **(tables | {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US", "PatientID": f"{patient}"}),
        )

    assert prepared(tmp_path / "images").info.image.channels == 1


@pytest.mark.parametrize("is_grey", [True, False])
def test_the_channels_of_a_volume_are_equal_or_not_as_a_whole(
    tmp_path: Path, write_dicom: WriteDicom, *, is_grey: bool
) -> None:
    for patient, place in itertools.product(range(4), range(8)):
        pixels = in_three(grey(8 * patient + place))
        if not is_grey and place == 3:
            pixels[4:8, 4:8] = (200, 40, 40)
        captured(
            tmp_path / "images" / f"{patient}-{place}.dcm",
            write_dicom,
            pixels,
            patient,
            StudyInstanceUID=f"2.25.9{patient}",
            ImagePositionPatient=[0, 0, place],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[1, 1],
        )

    info = cut(FolderConfig(path=str(tmp_path / "images")), tmp_path / "root").info

    assert info.image.channels == (1 if is_grey else 3)
    assert set(info.changed) == ({ONE} if is_grey else set())


@pytest.mark.parametrize("units", [None, "BQML"])
@pytest.mark.parametrize("modality", ["MR", "PT"])
@pytest.mark.parametrize("is_grey", [True, False])
def test_a_map_or_page_in_colour_is_not_among_measured_values(
    tmp_path: Path, write_dicom: WriteDicom, modality: str, units: str | None, *, is_grey: bool
) -> None:
    for patient in range(6):
        pixels = grey(patient).astype(np.uint16)
        names = {"PatientID": f"{patient}", "SeriesInstanceUID": f"2.25.{patient}"}
        write_dicom(tmp_path / "images" / f"{patient}.dcm", pixels, Modality=modality, Units=units, **names)
    page = in_three(grey(9)) if is_grey else colour(9)
    captured(tmp_path / "images" / "page.dcm", write_dicom, page, 9, Modality=modality)

    info = prepared(tmp_path / "images").info

    assert (info.counts.images, info.image.channels, info.counts.skipped) == (6, 1, 1)
    assert info.changed == {}


def test_screens_in_rgb_are_not_among_hounsfield_units(folder: Path, write_dicom: WriteDicom) -> None:
    captured(folder / "screen.dcm", write_dicom, in_three(grey(0)), 99, Modality="CT")

    info = prepared(folder).info

    assert (info.counts.images, info.image.channels) == (12, 1)
    assert ["is in colour, so its values are not those" in reason for reason in info.reasons] == [True]
