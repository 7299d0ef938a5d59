"""MedMNIST: an npz file of small medical images with official splits (Yang et al. 2023)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from rayology.data.sources.arrays import ArraysConfig, ArraysSource
from rayology.data.sources.files.archive import unpacked
from rayology.data.sources.files.local import on_disk
from rayology.data.splits import SplitName
from rayology.errors import SourceError

__all__ = ["MedMnistConfig", "MedMnistSource"]

PREFIXES: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}


class MedMnistConfig(ArraysConfig):
    """Grey or colour images of one class each, in MedMNIST's form; its splits are kept."""

    kind: Literal["medmnist"] = "medmnist"
    """This source."""
    path: str
    """npz file, such as pneumoniamnist.npz, or its URI; nothing in it is unpickled."""

    def build(self, root: Path) -> "MedMnistSource":
        """Return the source, which keeps what it unpacks or fetches below a root."""
        return MedMnistSource(self, root)


class MedMnistSource(ArraysSource[MedMnistConfig]):
    """Training images, then validation images, then test images."""

    def files(self) -> Mapping[SplitName, tuple[Path, Path]]:
        """Unpack the file, which is a zip file of arrays."""
        file = on_disk(self.config.path, self.root)
        if file.is_dir():  # into which it was fetched
            files = list(file.glob("*.npz"))
            if len(files) != 1:
                raise SourceError(f"{file}: a folder with {len(files)} npz files; set source.path to one npz file")
            (file,) = files
        if not file.is_file() or file.suffix.lower() != ".npz":
            raise SourceError(f"{file}: is missing or not an npz file; set source.path to one")
        folder = unpacked(file, self.root, self.config.limits)
        return {
            split: (folder / f"{prefix}_images.npy", folder / f"{prefix}_labels.npy")
            for split, prefix in PREFIXES.items()
        }

    def map(self, file: Path) -> NDArray[np.generic]:
        """Map an array without unpickling anything."""
        return open_memmap(file, mode="r")
