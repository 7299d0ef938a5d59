"""Files whose names are any bytes, and links, which are counted if they are not followed."""

import os
import tarfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from tests.data.bodies import SMALL, WriteDicom, body, prepared, skipped

from rayology.data import FolderConfig, ImageFolderConfig, ImageMaskPairsConfig, NiftiConfig
from rayology.data.prepare import prepare
from rayology.data.sources.files.local import BROKEN, OUTSIDE, TO_FOLDER
from rayology.data.sources.named import UNFIT
from rayology.errors import SourceError

KOELN = os.fsdecode(b"K\xf6ln")
"""Not UTF-8."""


def draw(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24)).astype(np.uint8)).save(file)


def test_pictures_may_be_named_by_any_bytes(tmp_path: Path) -> None:
    for label in ("a", KOELN):
        for number in range(6):
            draw(tmp_path / KOELN / label / f"{KOELN}{label}{number}.png", ord(label[-1]) + 1000 * number)
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        archive.add(tmp_path / KOELN, arcname=".")

    plain, packed = (
        prepare(ImageFolderConfig(path=str(path)), SMALL, tmp_path / "root").info
        for path in (tmp_path / KOELN, tmp_path / "in.tar")
    )

    assert (plain.counts.images, plain.counts.skipped, plain.image.classes) == (12, 0, ("K\\xf6ln", "a"))
    assert (packed.counts.images, packed.image.classes) == (12, plain.image.classes)


def test_pairs_volumes_and_dicom_may_be_named_by_any_bytes(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number in range(3):
        name = f"{KOELN}{number}"
        draw(tmp_path / "pairs" / f"{name}.png", number)
        draw(tmp_path / "pairs" / f"{name}_mask.png", 0)
        volume = np.random.default_rng(number).integers(0, 999, (20, 20, 4)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"{name}.nii.gz")
        write_dicom(tmp_path / "files" / KOELN / f"{name}.dcm", body(number), PatientID=f"P{number}")

    for config in (
        ImageMaskPairsConfig(path=str(tmp_path / "pairs"), image="{name}.png", mask="{name}_mask.png"),
        NiftiConfig(path=str(tmp_path)),
        FolderConfig(path=tmp_path / "files", labels="folder"),
    ):
        assert prepare(config, SMALL, tmp_path / "root").info.counts.images == (12 if config.kind == "nifti" else 3)


def test_a_skipped_file_is_listed_whatever_its_name(tmp_path: Path, write_dicom: WriteDicom) -> None:
    for number in range(3):
        write_dicom(tmp_path / "files" / f"{number}.dcm", body(number), PatientID=f"P{number}")
    (tmp_path / "files" / KOELN).touch()

    assert [each["part"] for each in skipped(prepared(tmp_path / "files"))] == [KOELN]


def test_links_that_are_not_followed_are_counted_by_reason(tmp_path: Path) -> None:
    for label, number in ((label, number) for label in "abc" for number in range(4)):
        draw(tmp_path / ("elsewhere" if label == "c" else "in") / label / f"{number}.png", ord(label) + 1000 * number)
    (tmp_path / "in" / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (tmp_path / "in" / "a" / "out.png").symlink_to(tmp_path / "elsewhere" / "c" / "0.png")
    (tmp_path / "in" / "a" / "lost.png").symlink_to("annex/objects/x.png")
    (tmp_path / "in" / "a" / "old.bmp").touch()
    config = ImageFolderConfig(path=str(tmp_path / "in"))

    data = prepare(config, SMALL, tmp_path / "root")

    assert (data.info.counts.files, data.info.counts.images) == (12, 8)
    assert data.info.reasons == {OUTSIDE: 1, TO_FOLDER: 1, BROKEN: 1, UNFIT: 1}
    assert sorted(each["file"] for each in skipped(data)) == ["a/lost.png", "a/old.bmp", "a/out.png", "c"]
    draw(tmp_path / "new.png", 99)
    (tmp_path / "new.png").rename(tmp_path / "in" / "a" / "out.png")  # in place of the link
    assert prepare(config, SMALL, tmp_path / "root").info.counts.images == 9


def test_a_checkout_of_links_is_read_once_by_the_links_names(tmp_path: Path) -> None:
    for label, number in ((label, number) for label in "ab" for number in range(4)):
        draw(tmp_path / "in" / ".git" / f"{label}{number}.png", ord(label) + 1000 * number)
        (tmp_path / "in" / label).mkdir(exist_ok=True)
        (tmp_path / "in" / label / f"{number}.png").symlink_to(f"../.git/{label}{number}.png")

    info = prepare(ImageFolderConfig(path=str(tmp_path / "in")), SMALL, tmp_path / "root").info

    assert (info.counts.files, info.counts.images, info.image.classes) == (8, 8, ("a", "b"))


def test_a_mask_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / "in" / f"{number}.png", number)
        draw(tmp_path / ("in" if number else "elsewhere") / f"{number}_mask.png", 0)
    (tmp_path / "in" / "0_mask.png").symlink_to(tmp_path / "elsewhere" / "0_mask.png")
    config = ImageMaskPairsConfig(path=str(tmp_path / "in"), image="{name}.png", mask="{name}_mask.png")

    info = prepare(config, SMALL, tmp_path / "root").info

    assert (info.counts.files, info.counts.images, info.reasons) == (4, 3, {OUTSIDE: 1})


@pytest.mark.parametrize("config", [FolderConfig, ImageFolderConfig, NiftiConfig])
def test_a_folder_of_links_alone_says_that_they_are_links(
    tmp_path: Path, config: type[FolderConfig] | type[ImageFolderConfig] | type[NiftiConfig]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SourceError, match=r"is a link to a folder.*\(cp -rL\)"):
        prepare(config(path=str(tmp_path / "in")), SMALL, tmp_path / "root")


def test_a_class_that_no_held_out_image_shows_is_said(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "in" / ("common" if number > 1 else "rare") / f"{number}.png", number)

    info = prepare(ImageFolderConfig(path=str(tmp_path / "in"), patient=r"/(\w+)\.png"), SMALL, tmp_path / "root").info

    assert info.note == ("validation never examines 1 of 2 classes (rare); test never examines 1 of 2 classes (rare)")


def test_of_many_classes_that_a_split_lacks_a_few_are_listed(tmp_path: Path) -> None:
    for number in range(14):
        draw(tmp_path / "in" / "train" / "abcdefg"[number % 7] / f"{number}.png", number)
    for split in ("val", "test"):
        draw(tmp_path / "in" / split / "h" / "1.png", ord(split[0]))

    config = ImageFolderConfig(path=str(tmp_path / "in"), patient=r"(\w+/\w+/\w+)\.png", splits="folder")
    note = prepare(config, SMALL, tmp_path / "root").info.note

    assert "test never examines 7 of 8 classes (a, b, c, d, e, ...)" in note
