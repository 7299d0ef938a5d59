"""A folder of pictures: PNG, JPEG and TIFF, one class a folder or as a table says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from PIL import Image

from rayology.config import Config
from rayology.data.identity import Identity
from rayology.data.labels import Naming
from rayology.data.local import files_below, local_folder
from rayology.data.packed import ArchiveLimits
from rayology.data.plain import grey_levels, plain
from rayology.data.raster import SUFFIXES, read_raster
from rayology.data.source import Example, Item
from rayology.errors import SourceError

__all__ = ["PicturesConfig", "PicturesSource"]


class PicturesConfig(Config):
    """Every PNG, JPEG and TIFF below a folder; 8 and 16 bits keep all their grey levels."""

    kind: Literal["pictures"] = "pictures"
    """This source."""
    path: str
    """The folder, a zip or tar file of one, or the URI of either (file, s3, gs)."""
    labels: Literal["none", "folder", "table"] = "folder"
    """Where classes come from: nowhere, the first folder below the path (or below a split's), or the table."""
    splits: Literal["none", "folder"] = "none"
    """Whether the first folder below the path is a split: train, val or validation, test."""
    table: Path | None = None
    """A CSV file headed file (its name below the path), and any of label, patient and split; null for none."""
    patient: str = ""
    """A regular expression whose first group, in the name below the path, is the patient; empty where it is not."""
    limits: ArchiveLimits = ArchiveLimits()
    """What an archive may become."""

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Write a few images of each class below a folder, and return the config that reads them."""
        generator = np.random.default_rng(0)
        for number in range(8):
            file = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (12, 16), np.uint8)).save(file)
        return cls(path=str(folder / "pictures"))

    def build(self, root: Path) -> "PicturesSource":
        """Keep what is unpacked or fetched below a root."""
        return PicturesSource(self, root)

    @property
    def naming(self) -> Naming:
        """How names say what pictures show."""
        return Naming(self.labels, self.splits, self.patient, self.table)


@dataclass(frozen=True)
class PicturesSource:
    """List pictures and read them."""

    config: PicturesConfig
    root: Path

    def items(self) -> Sequence[Item]:
        """List every picture in the order of their names.

        Raises:
            SourceError: the path is not there, cannot be fetched or unpacked, or holds no picture.
        """
        folder = local_folder(self.config.path, self.root, self.config.limits)
        files = sorted(file for file in files_below(folder) if file.suffix.lower() in SUFFIXES)
        if not files:
            raise SourceError(f"{folder}: holds no PNG, JPEG or TIFF; set source.path to a folder of pictures")
        naming = self.config.naming
        return [
            Item(file, part=name, label=naming.of(name).label, beside=naming.beside)
            for file in files
            for name in (file.relative_to(folder).as_posix(),)
        ]

    def read(self, item: Item) -> Iterator[Example]:
        """Read every page of a picture, and raise UnreadableImage where it is damaged."""
        facts = self.config.naming.of(item.part)
        for page, pixels in enumerate(read_raster(item.path)):
            identity = Identity(patient=facts.patient, picture=item.part, series=f"{item.part}/{page}")
            yield Example(
                plain(pixels, identity), item.label, values=grey_levels(pixels.dtype), split=facts.split or None
            )
