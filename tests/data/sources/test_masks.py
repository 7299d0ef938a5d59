"""Masks go the way of their images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.bodies import SMALL, WriteDicom, body

from rayology.data import PhantomConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.reading import read_item
from rayology.data.records import Work
from rayology.data.sources.source import Item
from rayology.data.splits import SPLITS


def read_beside(image: Path, mask: Path) -> Work:
    """Read an image with a mask as the phantom's are read."""
    return read_item(PhantomConfig().build(image.parent), 0, Item(image, beside=(mask,)), SMALL, b"key")


def test_a_mask_moves_with_its_image(tmp_path: Path, write_dicom: WriteDicom) -> None:
    pixels = body(0)
    image = write_dicom(tmp_path / "a.dcm", pixels[:, :24])
    mask = np.zeros((32, 24), np.uint8)
    mask[8:16, 8:16] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")

    _, (slice_,) = read_beside(image, tmp_path / "a.png")

    expected = np.zeros((16, 16), np.uint8)
    expected[4:8, 6:10] = 1
    np.testing.assert_array_equal(slice_.mask, expected)


@pytest.mark.parametrize("mask", ["missing", "text", "other size"])
def test_a_mask_that_does_not_fit_skips_its_image(tmp_path: Path, write_dicom: WriteDicom, mask: str) -> None:
    image = write_dicom(tmp_path / "a.dcm", body(0))
    (tmp_path / "text").write_text("no image")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "other size", format="PNG")

    outcome, pixels = read_beside(image, tmp_path / mask)

    assert (outcome.images, list(pixels)) == ((), [])
    assert dict(outcome.reasons)[0].startswith("UnreadableImage: its mask")


def test_a_mask_of_absurd_size_skips_its_image(
    tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_dicom(tmp_path / "a.dcm", body(0))
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "a.png")
    # A mask of 200 million pixels would take long to write.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32)

    outcome, _ = read_beside(image, tmp_path / "a.png")

    assert dict(outcome.reasons)[0].startswith(
        "UnreadableImage: its mask is not a picture that can be read (DecompressionBombError)"
    )


def test_the_phantom_comes_with_classes_and_masks(tmp_path: Path) -> None:
    dataset = prepare(PhantomConfig(patients=9, slices=2, size=32), PreparationConfig(size=32), tmp_path)

    assert len(dataset.info.image.classes) == 3
    for name in SPLITS:
        split = dataset.split(name)
        assert split.masks(np.arange(len(split))).shape == (len(split), 32, 32)
        assert len(dataset.info.splits[name].classes) == 3
