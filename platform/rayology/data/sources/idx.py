"""MNIST and the data sets that came in its form: four idx files (LeCun, Cortes & Burges)."""

import gzip
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from rayology.config import Config
from rayology.data.sources.arrays import LabelledArray, blocks
from rayology.data.sources.deflated import open_idx
from rayology.data.sources.files.local import local_folder
from rayology.data.sources.files.packed import ArchiveLimits
from rayology.data.sources.source import Example, Item
from rayology.data.splits import SplitName
from rayology.errors import SourceError

__all__ = ["IdxConfig", "IdxSource"]

PREFIXES: dict[SplitName, str] = {"train": "train", "test": "t10k"}


class IdxConfig(Config):
    """Images and classes as MNIST has them; validation images are drawn from its training images."""

    kind: Literal["idx"] = "idx"
    """This source."""
    path: str
    """The folder, an archive of it, or the URI of either, with train-images-idx3-ubyte, train-labels-idx1-ubyte
    and both of t10k, each gzipped (.gz) or not."""
    classes: tuple[str, ...] = tuple("0123456789")
    """The names of the classes, in the order of their numbers."""
    max_images: PositiveInt = 2**24
    """The most images of each file, from its start."""

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Write a few images of each class below a folder, and return the config that reads them."""
        generator = np.random.default_rng(0)
        for prefix, count in (("train", 40), ("t10k", 10)):
            _write(folder / f"{prefix}-images-idx3-ubyte.gz", generator.integers(0, 256, (count, 12, 12), np.uint8))
            _write(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
        return cls(path=str(folder))

    def build(self, root: Path) -> "IdxSource":
        """Keep what is unpacked or fetched below a root."""
        return IdxSource(self, root)


@dataclass(frozen=True)
class IdxSource:
    """List blocks of images and read them."""

    config: IdxConfig
    root: Path

    def items(self) -> Sequence[Item]:
        """List blocks of the training images, then of the test images.

        Raises:
            SourceError: a file is missing, damaged, or of another form.
        """
        folder = local_folder(self.config.path, self.root, ArchiveLimits())
        items: list[Item] = []
        for split, prefix in PREFIXES.items():
            images, labels = (_file(folder, f"{prefix}-{name}-ubyte") for name in ("images-idx3", "labels-idx1"))
            array = LabelledArray(split, open_idx(images), open_idx(labels))
            array.check()
            items += blocks(array, self.config.max_images, part=split, beside=(labels,))
        return items

    def read(self, item: Item) -> Iterator[Example]:
        """Read a block, and raise UnreadableImage where it is damaged."""
        (split,) = (name for name in PREFIXES if name == item.part)
        array = LabelledArray(split, open_idx(item.path), open_idx(item.beside[0]))
        yield from array.examples(item.rows, self.config.classes)


def _file(folder: Path, name: str) -> Path:
    for file in (folder / f"{name}.gz", folder / name):
        if file.is_file():
            return file
    raise SourceError(f"{folder}: holds no {name}, gzipped or not; set source.path to the folder of MNIST's files")


def _write(file: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    file.write_bytes(gzip.compress(header + values.tobytes(), mtime=0))
