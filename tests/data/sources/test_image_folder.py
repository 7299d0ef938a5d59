"""Pictures in folders, their classes, splits and patients, and pairs with masks."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.data.sources.examples import example_of

from rayology.data import ImageFolderConfig, ImageMaskPairsConfig, PreparationConfig, SourceConfig
from rayology.data.prepare import prepare
from rayology.data.sources import raster as raster_module
from rayology.data.sources.raster import read_page, read_raster
from rayology.data.sources.source import Example
from rayology.errors import SourceError, UnreadableImage

SMALL = PreparationConfig(size=16)


def picture(seed: int, dtype: type[np.integer] = np.uint8, channels: int = 1) -> NDArray[np.integer]:
    shape = (12, 16) if channels == 1 else (12, 16, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def save(file: Path, pixels: NDArray[np.generic]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def examples(config: SourceConfig, root: Path) -> list[Example]:
    source = config.build(root)
    return [example for item in source.items() if not item.reason for example in source.read(item)]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_grey_level_is_kept(tmp_path: Path, suffix: str, dtype: type[np.integer]) -> None:
    pixels = picture(0, dtype)
    save(tmp_path / f"a.{suffix}", pixels)

    (example,) = examples(ImageFolderConfig(path=str(tmp_path)), tmp_path / "root")

    np.testing.assert_array_equal(example.instance.pixels[0], pixels)
    assert example.values
    assert (example.values.low, example.values.high) == (0, np.iinfo(dtype).max)
    assert example.values.levels == np.iinfo(dtype).max + 1


def test_grey_levels_survive_preparation(tmp_path: Path) -> None:
    pixels = [picture(number)[:12, :12].repeat(2, 0).repeat(2, 1)[:16, :16] for number in range(3)]
    for number, each in enumerate(pixels):
        save(tmp_path / "images" / f"{number}.png", each)

    dataset = prepare(ImageFolderConfig(path=str(tmp_path / "images"), labels="none"), SMALL, tmp_path / "root")

    stored = np.concatenate([dataset.split(name).stored(np.arange(1)) for name in ("train", "validation", "test")])
    assert {each.tobytes() for each in stored[:, 0].astype(np.uint8)} == {each.tobytes() for each in pixels}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture(0, channels=3)).convert(mode)
    image.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))

    (example,) = examples(ImageFolderConfig(path=str(tmp_path)), tmp_path / "root")

    expected = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    np.testing.assert_array_equal(example.instance.pixels, expected)


def test_black_and_white_is_grey_from_0_to_255(tmp_path: Path) -> None:
    Image.fromarray(picture(0) > 99).save(tmp_path / "a.png")

    np.testing.assert_array_equal(read_page(tmp_path / "a.png"), (picture(0) > 99) * 255)


def test_every_page_is_an_image_of_the_same_picture(tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(number)) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])

    found = examples(ImageFolderConfig(path=str(tmp_path)), tmp_path / "root")

    assert len(found) == 3
    assert len({example.instance.identity.picture for example in found}) == 1
    for number, example in enumerate(found):
        np.testing.assert_array_equal(example.instance.pixels[0], picture(number))


def test_only_pictures_are_listed_with_the_folder_as_class(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/deeper/2.JPG", "b/3.tiff"):
        save(tmp_path / name, picture(0))
    (tmp_path / "a" / "notes.txt").touch()

    items = ImageFolderConfig(path=str(tmp_path)).build(tmp_path / "root").items()

    assert [(item.part, item.label) for item in items] == [("a/1.png", "a"), ("b/3.tiff", "b"), ("b/deeper/2.JPG", "b")]


def test_an_archive_reads_like_its_folder(tmp_path: Path) -> None:
    config = example_of(ImageFolderConfig, tmp_path)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", config.path)

    packed = examples(config.patched({"path": archive}), tmp_path / "root")

    for one, other in zip(examples(config, tmp_path), packed, strict=True):
        assert one.label == other.label
        np.testing.assert_array_equal(one.instance.pixels, other.instance.pixels)


def test_pictures_of_several_ranges_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", picture(0))
    save(tmp_path / "images" / "b.png", picture(1, np.uint16))

    with pytest.raises(SourceError, match=r"several ranges of grey levels \(0 to 255 1, 0 to 65535 1\)"):
        prepare(ImageFolderConfig(path=str(tmp_path / "images"), labels="none"), SMALL, tmp_path / "root")


def test_float_pictures_are_refused_with_what_to_write(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")

    with pytest.raises(UnreadableImage, match="mode F have no fixed grey levels; write 8 or 16 bits"):
        list(read_raster(tmp_path / "a.tif"))


@pytest.mark.parametrize("limit", ["ours", "Pillow's"])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    save(tmp_path / "a.png", picture(0))
    # A picture of so many pixels would take long to write.
    if limit == "ours":
        monkeypatch.setattr(raster_module, "MAX_PIXELS", 50)
    else:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)

    with pytest.raises(UnreadableImage):
        list(read_raster(tmp_path / "a.png"))


def test_other_formats_are_no_pictures_whatever_their_name(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png", format="GIF")

    with pytest.raises(UnreadableImage, match="is not a picture that can be read"):
        list(read_raster(tmp_path / "a.png"))


def test_splits_that_the_user_made_are_kept(tmp_path: Path) -> None:
    for number in range(10):
        save(
            tmp_path / "images" / ["train", "val", "test"][number % 3] / "ab"[number % 2] / f"{number}.png",
            picture(number),
        )
    config = ImageFolderConfig(path=str(tmp_path / "images"), splits="folder")

    info = prepare(config, SMALL, tmp_path / "root").info

    assert {name: split.images for name, split in info.splits.items()} == {"train": 4, "validation": 3, "test": 3}
    assert info.image.classes == ("a", "b")


def test_a_copy_in_another_split_that_the_user_made_is_refused(tmp_path: Path) -> None:
    for number in range(9):
        save(tmp_path / "images" / ["train", "val", "test"][number % 3] / f"{number}.png", picture(number))
    save(tmp_path / "images" / "test" / "copy.png", picture(0))
    config = ImageFolderConfig(path=str(tmp_path / "images"), labels="none", splits="folder")

    with pytest.raises(SourceError, match="2 images are of a patient in another split, or equal an image there"):
        prepare(config, SMALL, tmp_path / "root")


def test_copies_stay_in_one_split(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "images" / f"{number:02}.png", picture(number // 2))

    dataset = prepare(ImageFolderConfig(path=str(tmp_path / "images"), labels="none"), SMALL, tmp_path / "root")

    held = [
        {each.tobytes() for each in dataset.split(name).stored(np.arange(len(dataset.split(name))))}
        for name in ("train", "validation", "test")
    ]
    assert sum(map(len, held)) == len(set.union(*held)) == 10


def test_a_patient_in_the_name_keeps_pictures_together(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "images" / f"p{number // 2}-{number % 2}.png", picture(number))
    config = ImageFolderConfig(path=str(tmp_path / "images"), labels="none", patient=r"^p(\d+)-")

    info = prepare(config, SMALL, tmp_path / "root").info

    assert (info.patients, info.patient_safe, info.note) == (6, True, "")
    assert all(split.images == 2 * split.patients for split in info.splits.values())


@pytest.mark.slow
def test_medical_pictures_are_all_read_and_neighbours_stay_together(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "mednist" / "mednist_18000.zip"
    folder = tmp_path / "some"
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in sorted(opened.namelist()) if name.endswith(".jpeg")]
        opened.extractall(folder, names[::20])

    items = ImageFolderConfig(path=str(archive)).build(tmp_path).items()
    info = prepare(ImageFolderConfig(path=str(folder)), SMALL, tmp_path / "root").info

    assert len(items) == 18000
    assert {
        label: [item.label for item in items].count(label) for label in {item.label for item in items}
    } == dict.fromkeys(("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"), 3000)
    assert (info.counts.images, info.counts.skipped) == (900, 0)
    assert all(len(split.classes) == 6 for split in info.splits.values())


def test_retinas_come_with_their_vessels(shared_data: Path, tmp_path: Path) -> None:
    config = ImageMaskPairsConfig(
        path=str(shared_data / "seg_chasedb1"), mask="{name}_1stHO.png", patient=r"^Image_(\d+)"
    )
    source = config.build(tmp_path)
    items = [item for item in source.items() if not item.reason]

    (example,) = source.read(items[0])

    assert len(items) == 28
    assert example.instance.pixels.shape == (3, 960, 999)
    assert example.mask is not None
    assert example.mask.shape == (960, 999)
    assert set(np.unique(example.mask)) == {0, 1}
    assert 0.05 < example.mask.mean() < 0.15
    assert {item.part[:8] for item in items} == {f"Image_{number:02}" for number in range(1, 15)}


def test_masks_named_like_images_are_no_images(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"{number}.png", picture(number))
        save(tmp_path / f"{number}-mask.png", picture(number))
    config = ImageMaskPairsConfig(path=str(tmp_path), image="{name}.png", mask="{name}-mask.png")

    items = config.build(tmp_path).items()

    assert [(item.part, item.beside[0].name) for item in items] == [("0.png", "0-mask.png"), ("1.png", "1-mask.png")]


def test_numbered_regions_keep_their_numbers(tmp_path: Path) -> None:
    config = example_of(ImageMaskPairsConfig, tmp_path).patched({"regions": "numbered"})
    mask = np.array([[0, 3], [7, 7]], np.uint8).repeat(6, 0).repeat(8, 1)
    save(tmp_path / "0_mask.png", mask)

    np.testing.assert_array_equal(examples(config, tmp_path)[0].mask, mask)


def test_images_without_a_mask_say_what_to_set(tmp_path: Path) -> None:
    config = example_of(ImageMaskPairsConfig, tmp_path)
    (tmp_path / "3_mask.png").unlink()

    with pytest.raises(SourceError, match=r"1 of 6 images have no mask named like '\{name\}_mask.png'"):
        config.build(tmp_path).items()


@pytest.mark.parametrize("wrong", ["size", "pages", "levels"])
def test_a_mask_that_does_not_fit_is_our_own_error(tmp_path: Path, wrong: str) -> None:
    config = example_of(ImageMaskPairsConfig, tmp_path).patched({"regions": "numbered"})
    mask = Image.fromarray(picture(0, np.uint16 if wrong == "levels" else np.uint8)[: 5 if wrong == "size" else 12])
    extra = {"save_all": True, "append_images": [mask]} if wrong == "pages" else {}
    mask.save(tmp_path / "0_mask.png", format="TIFF", **extra)

    with pytest.raises(UnreadableImage, match="its mask"):
        examples(config, tmp_path)


@pytest.mark.parametrize(
    "config", [ImageFolderConfig(path="."), ImageMaskPairsConfig(path=".")], ids=lambda config: config.kind
)
def test_a_folder_without_pictures_says_what_to_set(
    tmp_path: Path, config: ImageFolderConfig | ImageMaskPairsConfig
) -> None:
    (tmp_path / "notes.txt").touch()

    with pytest.raises(SourceError, match=r"set source\.(path|image) to"):
        config.patched({"path": str(tmp_path)}).build(tmp_path / "root").items()
