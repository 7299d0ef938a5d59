"""A folder of DICOM files, archived or not, on a disk or in an object store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from rayology.config import Config
from rayology.data.dicom import decode
from rayology.data.dicom.selection import Selection
from rayology.data.identity import Identity
from rayology.data.sources.files.archive import ArchiveLimits, is_archive
from rayology.data.sources.files.dicomdir import referenced_files
from rayology.data.sources.files.local import files_below, local_folder, on_disk
from rayology.data.sources.labels import Attribute, Naming, attribute_of
from rayology.data.sources.source import Example, Item
from rayology.data.sources.table import Membership, TableFile
from rayology.data.unreadable import as_unreadable
from rayology.errors import SourceError

__all__ = ["FolderConfig", "FolderSource"]


class FolderConfig(Config):
    """Every file below a folder, in an archive, or that a DICOMDIR refers to."""

    kind: Literal["folder"] = "folder"
    """This source."""
    path: Annotated[str, BeforeValidator(str)]
    """Folder, .zip, .tar, .tar.gz, .tgz or .tar.xz file, DICOMDIR, or the URI of one (file, s3, gs); every node of a
    cluster must see it."""
    labels: Literal["none", "folder", "table", "attribute"] = "none"
    """Origin of classes: none, the first folder below the path, the table, or an attribute of the header. Their names
    are published in datasets, bundles and servers: a name with ^, a date or a long number is refused, but a patient's
    folder such as Jane_Doe cannot be told from a class."""
    table: TableFile | None = None
    """CSV file headed file (the name below the path) or uid (of the instance, the series or the study), with any of
    label, patient (which overrides the header) and split; null for none."""
    attribute: Attribute = "BodyPartExamined"
    """Attribute whose values are the classes if labels is attribute."""
    selection: Selection = Selection()
    """Rules for the wanted images; the others count as skipped and are not decoded."""
    limits: ArchiveLimits = ArchiveLimits()
    """Limits on what an archive may unpack to."""

    def build(self, root: Path) -> "FolderSource":
        """Return the source, which keeps what it unpacks or fetches below a root."""
        return FolderSource(self, root)


@dataclass(frozen=True)
class FolderSource:
    """List the files of a folder, fetched and unpacked if necessary, and read them."""

    config: FolderConfig
    root: Path

    def items(self) -> Sequence[Item]:
        """List all files in the order of their names, or of the DICOMDIR; links out of the folder are only counted.

        Raises:
            SourceError: the table is wrong or names no file; the path is missing, cannot be fetched or unpacked, or
                holds no file; or the name of a class identifies a patient.
        """
        naming = self._naming
        path = on_disk(self.config.path, self.root)
        if path.is_dir() or is_archive(path.name) or not path.exists():
            folder = local_folder(self.config.path, self.root, self.config.limits)
            files = files_below(folder)
        else:
            folder, files = path.parent, dict.fromkeys(referenced_files(path), "")
        if not files:
            raise SourceError(f"{path}: holds no file; set source.path to a folder of DICOM files")
        names = [file.relative_to(folder).as_posix() for file in files]
        known = naming.look_up(names)
        return [
            Item(file, part=name, label=known[name].label, beside=naming.beside, reason=reason)
            for (file, reason), name in zip(files.items(), names, strict=True)
        ]

    def read(self, item: Item) -> Iterator[Example]:
        """Read every frame of a file, and raise what ``rayology.data.dicom.read`` raises."""
        with as_unreadable("it cannot be read"):
            stream = item.path.open("rb")
        with stream:
            labels = self.config.labels
            label = attribute_of(stream, self.config.attribute) if labels == "attribute" else item.label
            for instance in decode(stream, selection=self.config.selection):
                row = self._row(item.part, instance.identity)
                whose = instance.identity
                if row.patient:  # the table's patients may have numbers of several issuers
                    whose = replace(whose, patient=row.patient, issuer="")
                yield Example(
                    replace(instance, identity=whose),
                    row.label if labels == "table" else label,
                    split=row.split or None,
                    in_table=row != Membership() if self.config.table else None,
                )

    @property
    def _naming(self) -> Naming:
        labels = "none" if self.config.labels == "attribute" else self.config.labels
        return Naming(labels, table=self.config.table, has_uids=True)

    def _row(self, name: str, identity: Identity) -> Membership:
        """Return the first row of the table that names the file, the instance, the series or the study."""
        rows = map(self._naming.row, (name, identity.instance, identity.series, identity.study))
        return next((row for row in rows if row != Membership()), Membership())
