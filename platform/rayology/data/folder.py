"""A folder of DICOM files, packed or not, on a disk or in an object store."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from rayology.config import Config
from rayology.data.archive import is_archive, unpacked
from rayology.data.dicom import Instance, read
from rayology.data.dicomdir import referenced_files
from rayology.data.objects import fetch_objects
from rayology.data.packed import ArchiveLimits
from rayology.data.source import Item
from rayology.errors import SourceError
from rayology.uri import Place, located

__all__ = ["FolderConfig", "FolderSource"]

DICOMDIR = "DICOMDIR"  # DICOM PS3.10 8.6


class FolderConfig(Config):
    """Every file below a folder, in an archive, or that a DICOMDIR refers to."""

    kind: Literal["folder"] = "folder"
    """This source."""
    path: Annotated[str, BeforeValidator(str)]
    """A folder, a .zip, .tar, .tar.gz, .tgz or .tar.xz file, a DICOMDIR, or the URI of one (file, s3, gs); on a
    cluster, one that every node sees."""
    labels: Literal["none", "folder"] = "none"
    """Where the class of an image comes from: nowhere, or the name of the first folder below the path."""
    limits: ArchiveLimits = ArchiveLimits()
    """What an archive may become."""

    @property
    def folder(self) -> Path:
        """The path as every process reads it, whatever folder it works in."""
        return Path(self.path) if "://" in self.path else Path(self.path).expanduser().absolute()

    def build(self, root: Path) -> "FolderSource":
        """Keep what is unpacked or fetched below a root."""
        return FolderSource(self, root)


@dataclass(frozen=True)
class FolderSource:
    """List the files of a folder, after it was fetched and unpacked where it has to be."""

    config: FolderConfig
    root: Path

    def items(self) -> Sequence[Item]:
        """List every file in the order of their names, or of the DICOMDIR, following no link out of the folder.

        Raises:
            SourceError: the path is not there, cannot be fetched or unpacked, or holds no file.
        """
        path = self._on_disk()
        folder = path if path.is_dir() else path.parent
        if path.is_dir():
            files = sorted(_files(folder))
        elif not path.exists():
            raise SourceError(f"{path}: no such folder; set source.path to a folder of DICOM files")
        elif is_archive(path.name):
            folder = unpacked(path, self.root, self.config.limits)
            files = sorted(_files(folder))
        else:
            files = referenced_files(path)
        if not files:
            raise SourceError(f"{path}: holds no file; set source.path to a folder of DICOM files")
        return [Item(file, label=self._label(file.relative_to(folder))) for file in files]

    def read(self, item: Item) -> tuple[Instance, ...]:
        """Read every frame of a file, and raise what ``rayology.data.dicom.read`` raises."""
        return read(item.path)

    def _on_disk(self) -> Path:
        """Return where the path lies on a disk, fetched from an object store if need be."""
        try:
            place = located(self.config.path)
        except (ValueError, NotImplementedError, OSError) as error:
            raise SourceError(
                f"source.path names no place: {error}; write a folder, or a URI of file, s3 or gs"
            ) from None
        if not place.is_remote:
            return Path(place.path)
        copy = self.root / "sources" / f"objects-{hashlib.sha256(self.config.path.encode()).hexdigest()[:16]}"
        above, _, name = place.path.rpartition("/")
        if name.upper() == DICOMDIR:  # what it refers to lies beside it
            place = Place(place.files, above)
        fetch_objects(place, copy)
        return copy / name if name.upper() == DICOMDIR or is_archive(name) else copy

    def _label(self, below: Path) -> str:
        return below.parts[0] if self.config.labels == "folder" and len(below.parts) > 1 else ""


def _files(folder: Path) -> Iterator[Path]:
    root = folder.resolve()
    for parent, _, names in os.walk(folder, followlinks=False):
        for name in names:
            file = Path(parent, name)
            # A pipe or a device is no file, and reading one may never end.
            if file.is_file() and file.resolve().is_relative_to(root):
                yield file
