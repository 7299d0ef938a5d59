"""A few images for each source that reads files, and the config that reads them."""

import gzip
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rayology.config import Config
from rayology.data import (
    FolderConfig,
    IdxConfig,
    ImageFolderConfig,
    ImageMaskPairsConfig,
    MedMnistConfig,
    NiftiConfig,
    PhantomConfig,
)

C = TypeVar("C", bound=Config)
Settings = dict[str, object]


def example_of(source: type[C], folder: Path) -> C:
    """Write a few images of each class below a folder, and return the config that reads them."""
    return source.model_validate(WRITERS[source](folder))


def _phantom(folder: Path) -> Settings:
    del folder  # the source draws its own
    return {"patients": 9, "slices": 1, "size": 32}


def _folder(folder: Path) -> Settings:
    drawn = example_of(PhantomConfig, folder).build(folder)
    drawn.items()
    return {"path": str(drawn.path / "images"), "labels": "folder"}


def _image_folder(folder: Path) -> Settings:
    generator = np.random.default_rng(0)
    for number in range(8):
        file = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (12, 16), np.uint8)).save(file)
    return {"path": str(folder / "pictures")}


def _image_mask_pairs(folder: Path) -> Settings:
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
        Image.fromarray(pixels[..., 0] > 99).save(folder / f"{number}_mask.png")
    return {"path": str(folder)}


def _nifti(folder: Path) -> Settings:
    generator = np.random.default_rng(0)
    for number in range(4):
        voxels = generator.integers(0, 1000, (12, 14, 3)).astype(np.int16)
        for name, values in (("images", voxels), ("masks", (voxels > 500).astype(np.uint8))):
            (folder / name).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), folder / name / f"{number}.nii.gz")
    return {"path": str(folder), "image": "images/{name}.nii.gz", "mask": "masks/{name}.nii.gz"}


def _idx(folder: Path) -> Settings:
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 40), ("t10k", 10)):
        _write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", generator.integers(0, 256, (count, 12, 12), np.uint8))
        _write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    return {"path": str(folder)}


def _write_idx(file: Path, values: NDArray[np.uint8]) -> None:
    unsigned_bytes = 0x08
    header = struct.pack(f">HBB{values.ndim}I", 0, unsigned_bytes, values.ndim, *values.shape)
    file.write_bytes(gzip.compress(header + values.tobytes(), mtime=0))


def _medmnist(folder: Path) -> Settings:
    generator = np.random.default_rng(0)
    arrays = {
        f"{prefix}_{name}": values
        for prefix, count in (("train", 20), ("val", 8), ("test", 8))
        for name, values in (
            ("images", generator.integers(0, 256, (count, 12, 12, 3), np.uint8)),
            ("labels", np.arange(count)[:, None] % 2),
        )
    }
    np.savez_compressed(folder / "example.npz", allow_pickle=False, **arrays)
    return {"path": str(folder / "example.npz")}


WRITERS: Mapping[type[Config], Callable[[Path], Settings]] = {
    FolderConfig: _folder,
    IdxConfig: _idx,
    ImageFolderConfig: _image_folder,
    ImageMaskPairsConfig: _image_mask_pairs,
    MedMnistConfig: _medmnist,
    NiftiConfig: _nifti,
    PhantomConfig: _phantom,
}
