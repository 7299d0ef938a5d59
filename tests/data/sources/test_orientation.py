"""Pictures and masks are read as viewers show them: turned by the Orientation of each."""

import shutil
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from rayology.data import ImageFolderConfig, ImageMaskPairsConfig
from rayology.data.sources.raster import read_mask, read_page, read_raster
from rayology.errors import RequestError, UnreadableImage
from rayology.image import ValueRange
from rayology.serving.codecs import decode_png

ORIENTATION = 0x0112
DEEP = (np.arange(12 * 16).reshape(12, 16) * 300).astype(np.uint16)
BYTES = (DEEP >> 8).astype(np.uint8)
UPRIGHT = {
    1: DEEP,
    2: DEEP[:, ::-1],
    3: DEEP[::-1, ::-1],
    4: DEEP[::-1],
    5: DEEP.T,
    6: np.rot90(DEEP, -1),
    7: DEEP[::-1, ::-1].T,
    8: np.rot90(DEEP),
}
"""What viewers show of a picture stored with each orientation (Exif 2.3, section 4.6.4)."""


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def save(file: Path, pixels: NDArray[np.generic], orientation: int) -> Path:
    image = Image.fromarray(pixels)
    if file.suffix == ".jpg":
        image.save(file, exif=turned(orientation), quality=100)
    else:
        image.save(file, exif=turned(orientation))
    return file


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_every_orientation_of_16_bits_keeps_every_level(tmp_path: Path, name: str, orientation: int) -> None:
    found = read_page(save(tmp_path / name, DEEP, orientation))

    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, UPRIGHT[orientation])


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(("name", "channels"), [("a.jpg", 1), ("a.jpg", 3), ("a.png", 4), ("a.tif", 3)])
def test_every_orientation_of_colour_and_grey_is_as_viewers_show_it(
    tmp_path: Path, name: str, channels: int, orientation: int
) -> None:
    pixels = BYTES if channels == 1 else np.stack([BYTES] * channels, -1)
    save(tmp_path / name, pixels, orientation)

    found = read_page(tmp_path / name).astype(int)

    shown = UPRIGHT[orientation] >> 8
    assert np.abs(found - (shown if channels == 1 else shown[..., None])).max() <= 3


def test_each_page_of_a_tiff_is_turned_by_its_own_orientation(tmp_path: Path) -> None:
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as pages:
        for orientation in UPRIGHT:
            Image.fromarray(DEEP).save(pages, "TIFF", exif=turned(orientation))
            pages.newFrame()

    for found, shown in zip(read_raster(tmp_path / "a.tif"), UPRIGHT.values(), strict=True):
        np.testing.assert_array_equal(found, shown)


@pytest.mark.parametrize("of_picture", [1, 6])
@pytest.mark.parametrize("of_mask", [1, 3, 6, 8])
@pytest.mark.parametrize("archived", [False, True])
def test_a_picture_and_its_mask_are_each_turned_by_their_own_orientation(
    tmp_path: Path, of_picture: int, of_mask: int, *, archived: bool
) -> None:
    upright = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
    lesion = (upright > 150).astype(np.uint8)
    back = {1: 0, 3: 2, 6: 1, 8: 3}
    (tmp_path / "pairs").mkdir()
    save(tmp_path / "pairs" / "a.png", np.rot90(upright, back[of_picture]), of_picture)
    save(tmp_path / "pairs" / "a_mask.png", np.rot90(lesion, back[of_mask]), of_mask)
    path = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "pairs") if archived else tmp_path / "pairs"
    source = ImageMaskPairsConfig(path=str(path), image="{name}.png").build(tmp_path / "root")

    (example,) = source.read(source.items()[0])

    np.testing.assert_array_equal(example.instance.pixels[0], upright)
    np.testing.assert_array_equal(example.mask, lesion)


def test_the_size_of_a_mask_is_compared_as_viewers_show_it(tmp_path: Path) -> None:
    file = save(tmp_path / "mask.png", BYTES, 6)

    assert read_mask(file, (16, 12)).shape == (16, 12)
    with pytest.raises(UnreadableImage, match="its mask has 16 x 12 pixels, the image 12 x 16"):
        read_mask(file, (12, 16))


@pytest.mark.parametrize("orientation", [0, 9, 1000])
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, orientation: int) -> None:
    np.testing.assert_array_equal(read_page(save(tmp_path / "a.png", DEEP, orientation)), DEEP)


def test_what_is_not_exif_turns_nothing(tmp_path: Path) -> None:
    Image.fromarray(DEEP).save(tmp_path / "a.png", exif=b"neither II nor MM")

    np.testing.assert_array_equal(read_page(tmp_path / "a.png"), DEEP)


def test_pages_of_an_animated_png_are_turned_alike(tmp_path: Path) -> None:
    pages = [Image.fromarray(pixels) for pixels in (BYTES, BYTES[::-1], BYTES[:, ::-1])]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:], exif=turned(6))

    for found, page in zip(read_raster(tmp_path / "a.png"), pages, strict=True):
        np.testing.assert_array_equal(found, np.rot90(np.asarray(page), -1))


def of_a_camera() -> bytes:
    exif = turned(6)
    exif[0x010E], exif[0x011A] = "a description", 72.0
    exif.get_ifd(0x8769)[0x829A] = 0.5
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    return exif.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_broken_exif_raises_nothing_but_our_own_errors(tmp_path: Path, suffix: str, mode: str) -> None:
    random, exif, file = np.random.default_rng(0), of_a_camera(), tmp_path / f"a.{suffix}"
    values = ValueRange(low=0, high=255, unit="grey level", levels=256)
    Image.fromarray(BYTES).convert(mode).save(file, exif=exif)
    whole = file.read_bytes()
    first, num_bytes = (whole.index(exif[8:]), len(exif) - 8) if suffix != "tif" else (8, len(whole) - 8)
    num_read = 0

    for _ in range(100):
        broken = bytearray(whole)
        for place in random.integers(first, first + num_bytes, random.integers(1, 6)):
            broken[place] = random.integers(256)
        if suffix == "png":  # each chunk ends with its checksum
            chunk = slice(whole.index(b"eXIf"), first + num_bytes)
            broken[chunk.stop : chunk.stop + 4] = crc32(broken[chunk]).to_bytes(4, "big")
        file.write_bytes(broken)
        with suppress(UnreadableImage):
            num_read += read_page(file).shape[:2] in ((12, 16), (16, 12))
        with suppress(RequestError):
            decode_png(bytes(broken), values, channels=len(mode))

    assert num_read == 100 or suffix == "tif"  # whose tags describe the pixels, too


def test_a_turned_picture_cut_short_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), 6)
    file.write_bytes(file.read_bytes()[:-2000])

    with pytest.raises(UnreadableImage):
        read_page(file)


def test_turned_pictures_lie_upright_in_a_folder_of_classes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    save(tmp_path / "a" / "1.jpg", BYTES, 6)
    source = ImageFolderConfig(path=str(tmp_path)).build(tmp_path / "root")

    (example,) = source.read(source.items()[0])

    assert example.instance.pixels.shape == (1, 16, 12)


def test_a_server_turns_a_png_as_sources_do() -> None:
    stream = BytesIO()
    Image.fromarray(BYTES).save(stream, "PNG", exif=turned(6))
    values = ValueRange(low=0, high=255, unit="grey level", levels=256)

    np.testing.assert_array_equal(decode_png(stream.getvalue(), values, channels=1)[0, 0], np.rot90(BYTES, -1))
