"""A folder of DICOM files."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from rayology.config import Config
from rayology.data.dicom import read
from rayology.data.phantom import PhantomConfig
from rayology.data.source import Example, Item
from rayology.errors import SourceError

__all__ = ["FolderConfig", "FolderSource"]


class FolderConfig(Config):
    """Every file below a folder."""

    kind: Literal["folder"] = "folder"
    """This source."""
    path: Path
    """The folder; on a cluster, one that every node sees."""
    labels: Literal["none", "folder"] = "none"
    """Where the class of an image comes from: nowhere, or the name of the first folder below the path."""

    @property
    def folder(self) -> Path:
        """The path as every process reads it, whatever folder it works in."""
        return self.path.expanduser().absolute()

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Write a few images of each class below a folder, and return the config that reads them."""
        drawn = PhantomConfig.example(folder).build(folder)
        drawn.items()
        return cls(path=drawn.path / "images", labels="folder")

    def build(self, root: Path) -> "FolderSource":
        """Return the source; it keeps nothing of its own under the root."""
        del root
        return FolderSource(self)


@dataclass(frozen=True)
class FolderSource:
    """List the files of a folder."""

    config: FolderConfig

    def items(self) -> Sequence[Item]:
        """List every file below the folder in the order of their names, following no link out of it.

        Raises:
            SourceError: the folder is not there or holds no file.
        """
        folder = self.config.folder
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder; set source.path to a folder of DICOM files")
        files = sorted(_files(folder))
        if not files:
            raise SourceError(f"{folder}: holds no file; set source.path to a folder of DICOM files")
        return [Item(file, label=self._label(file)) for file in files]

    def read(self, item: Item) -> Iterator[Example]:
        """Read every frame of a file, and raise what the DICOM reader raises."""
        for instance in read(item.path):
            yield Example(instance, label=item.label)

    def _label(self, file: Path) -> str:
        below = file.relative_to(self.config.folder).parts
        return below[0] if self.config.labels == "folder" and len(below) > 1 else ""


def _files(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for parent, _, names in os.walk(folder, followlinks=False):
        for name in names:
            file = Path(parent, name)
            # A pipe or a device is no file, and reading one may never end.
            if file.is_file() and file.resolve().is_relative_to(root):
                yield file
