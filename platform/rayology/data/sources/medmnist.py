"""MedMNIST: an npz file of small medical images with official splits (Yang et al. 2023)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import PositiveInt

from rayology.config import Config
from rayology.data.sources.arrays import LabelledArray, blocks
from rayology.data.sources.files.local import on_disk
from rayology.data.sources.npz import open_npz
from rayology.data.sources.source import Example, Item
from rayology.data.splits import SplitName
from rayology.errors import SourceError

__all__ = ["MedMnistConfig", "MedMnistSource"]

PREFIXES: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}


class MedMnistConfig(Config):
    """Grey or coloured images of one class each, as MedMNIST has them; its splits are kept."""

    kind: Literal["medmnist"] = "medmnist"
    """This source."""
    path: str
    """The npz file, such as pneumoniamnist.npz, or its URI; nothing in it is unpickled."""
    classes: tuple[str, ...] = ()
    """The names of the classes in the order of their numbers; empty for the numbers themselves."""
    max_images: PositiveInt = 2**24
    """The most images of each split, from its start."""

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Write a few images of each class below a folder, and return the config that reads them."""
        generator = np.random.default_rng(0)
        arrays = {
            f"{prefix}_{name}": values
            for prefix, count in zip(PREFIXES.values(), (20, 8, 8), strict=True)
            for name, values in (
                ("images", generator.integers(0, 256, (count, 12, 12, 3), np.uint8)),
                ("labels", np.arange(count)[:, None] % 2),
            )
        }
        np.savez_compressed(folder / "example.npz", allow_pickle=False, **arrays)
        return cls(path=str(folder / "example.npz"))

    def build(self, root: Path) -> "MedMnistSource":
        """Keep what is fetched below a root."""
        return MedMnistSource(self, root)


@dataclass(frozen=True)
class MedMnistSource:
    """List blocks of images and read them."""

    config: MedMnistConfig
    root: Path

    def items(self) -> Sequence[Item]:
        """List blocks of the training images, the validation images, the test images.

        Raises:
            SourceError: the file is missing, damaged, or of another form.
        """
        file = on_disk(self.config.path, self.root)
        if file.is_dir():  # as what is fetched lies in
            files = list(file.glob("*.npz"))
            if len(files) != 1:
                raise SourceError(f"{file}: a folder with {len(files)} npz files; set source.path to one npz file")
            (file,) = files
        items: list[Item] = []
        for split in PREFIXES:
            array = _array(file, split)
            array.check()
            items += blocks(array, self.config.max_images, part=split)
        return items

    def read(self, item: Item) -> Iterator[Example]:
        """Read a block, and raise UnreadableImage where it is damaged."""
        (split,) = (name for name in PREFIXES if name == item.part)
        yield from _array(item.path, split).examples(item.rows, self.config.classes)


def _array(file: Path, split: SplitName) -> LabelledArray:
    images, labels = (open_npz(file, f"{PREFIXES[split]}_{name}") for name in ("images", "labels"))
    return LabelledArray(split, images, labels)
