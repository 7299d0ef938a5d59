"""MNIST and data sets in its form: four idx files (LeCun, Cortes & Burges)."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rayology.data.sources.arrays import ArraysConfig, ArraysSource
from rayology.data.sources.files.archive import unpacked
from rayology.data.sources.files.local import local_folder
from rayology.data.splits import SplitName
from rayology.errors import SourceError

__all__ = ["IdxConfig", "IdxSource"]

PREFIXES: dict[SplitName, str] = {"train": "train", "test": "t10k"}
UNSIGNED_BYTES = 0x08


class IdxConfig(ArraysConfig):
    """Images and classes in MNIST's form; validation images are drawn from its training images."""

    kind: Literal["idx"] = "idx"
    """This source."""
    path: str
    """Folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and both of t10k, each gzipped (.gz) or not; an
    archive of it, or the URI of either."""
    classes: tuple[str, ...] = tuple("0123456789")
    """Names of the classes in the order of their numbers."""

    def build(self, root: Path) -> "IdxSource":
        """Return the source, which keeps what it unpacks or fetches below a root."""
        return IdxSource(self, root)


class IdxSource(ArraysSource[IdxConfig]):
    """Training images, then test images."""

    def files(self) -> Mapping[SplitName, tuple[Path, Path]]:
        """Find the four files, unpacked."""
        folder = local_folder(self.config.path, self.root, self.config.limits)
        return {
            split: (
                self._plain(folder, f"{prefix}-images-idx3-ubyte"),
                self._plain(folder, f"{prefix}-labels-idx1-ubyte"),
            )
            for split, prefix in PREFIXES.items()
        }

    def map(self, file: Path) -> NDArray[np.generic]:
        """Map an idx file of unsigned bytes."""
        with file.open("rb") as opened:
            zeros, kind, axes = struct.unpack(">HBB", opened.read(4))
            if zeros or kind != UNSIGNED_BYTES:
                raise ValueError
            shape = struct.unpack(f">{axes}I", opened.read(4 * axes))
            return np.memmap(opened, np.uint8, "r", opened.tell(), shape)

    def _plain(self, folder: Path, name: str) -> Path:
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.gz").is_file():
            return unpacked(folder / f"{name}.gz", self.root, self.config.limits) / name
        raise SourceError(f"{folder}: holds no {name}, gzipped or not; set source.path to the folder of MNIST's files")
