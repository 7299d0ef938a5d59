"""A folder of DICOM files, packed or not, on a disk or in an object store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator

from rayology.config import Config
from rayology.data.archive import is_archive
from rayology.data.dicom import instances
from rayology.data.dicomdir import referenced_files
from rayology.data.identity import Identity
from rayology.data.labels import Attribute, Membership, Naming, attribute_of
from rayology.data.local import files_below, local_folder, on_disk
from rayology.data.packed import ArchiveLimits
from rayology.data.phantom import PhantomConfig
from rayology.data.selection import Selection
from rayology.data.source import Example, Item
from rayology.errors import SourceError

__all__ = ["FolderConfig", "FolderSource"]


class FolderConfig(Config):
    """Every file below a folder, in an archive, or that a DICOMDIR refers to."""

    kind: Literal["folder"] = "folder"
    """This source."""
    path: Annotated[str, BeforeValidator(str)]
    """A folder, a .zip, .tar, .tar.gz, .tgz or .tar.xz file, a DICOMDIR, or the URI of one (file, s3, gs); on a
    cluster, one that every node sees."""
    labels: Literal["none", "folder", "table", "attribute"] = "none"
    """Where classes come from: nowhere, the first folder below the path, the table, or an attribute of the header."""
    table: Path | None = None
    """A CSV file headed file (the name below the path) or uid (of the instance, the series or the study), with any of
    label and split; null for none."""
    attribute: Attribute = "BodyPartExamined"
    """The attribute whose values are classes where labels say so."""
    selection: Selection = Selection()
    """Which images are wanted; the others count as skipped and are not decoded."""
    limits: ArchiveLimits = ArchiveLimits()
    """What an archive may become."""

    @property
    def folder(self) -> Path:
        """The path as every process reads it, whatever folder it works in."""
        return Path(self.path) if "://" in self.path else Path(self.path).expanduser().absolute()

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Write a few images of each class below a folder, and return the config that reads them."""
        drawn = PhantomConfig.example(folder).build(folder)
        drawn.items()
        return cls(path=str(drawn.path / "images"), labels="folder")

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
        path = on_disk(self.config.path, self.root)
        if path.is_dir() or is_archive(path.name) or not path.exists():
            folder = local_folder(self.config.path, self.root, self.config.limits)
            files = sorted(files_below(folder))
        else:
            folder, files = path.parent, referenced_files(path)
        if not files:
            raise SourceError(f"{path}: holds no file; set source.path to a folder of DICOM files")
        return [
            Item(file, part=below.as_posix(), label=self._label(file, below), beside=self._naming.beside)
            for file in files
            for below in (file.relative_to(folder),)
        ]

    def read(self, item: Item) -> Iterator[Example]:
        """Read every frame of a file, and raise what ``rayology.data.dicom.read`` raises."""
        for instance in instances(item.path, selection=self.config.selection):
            row = self._row(item.part, instance.identity)
            yield Example(instance, label=item.label or row.label, split=row.split or None)

    @property
    def _naming(self) -> Naming:
        return Naming("table" if self.config.labels == "table" else "none", table=self.config.table)

    def _row(self, name: str, identity: Identity) -> Membership:
        """Return the first row of the table that names the file, the instance, the series or the study."""
        rows = map(self._naming.row, (name, identity.instance, identity.series, identity.study))
        return next((row for row in rows if row != Membership()), Membership())

    def _label(self, file: Path, below: Path) -> str:
        match self.config.labels:
            case "folder":
                return below.parts[0] if len(below.parts) > 1 else ""
            case "attribute":
                return attribute_of(file, self.config.attribute)
            case _:
                return ""
