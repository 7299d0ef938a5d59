"""What sources of files have in common whose names, folders or a table say what they show."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from rayology.config import Config
from rayology.data.identity import Identity
from rayology.data.sources.files.archive import ArchiveLimits
from rayology.data.sources.files.local import local_folder
from rayology.data.sources.labels import Naming
from rayology.data.sources.source import Example, Item
from rayology.data.sources.table import Membership, TableFile

__all__ = ["NamedFilesConfig", "NamedFilesSource"]


class NamedFilesConfig(Config):
    """Files below a folder, and what says whose they are and what they show."""

    path: str
    """The folder, a zip or tar file of one, or the URI of either (file, s3, gs)."""
    labels: Literal["none", "folder", "table"] = "none"
    """Where classes come from: nowhere, the first folder below the path, or the table. What
    folders and labels are named is published as it is, in datasets, bundles and servers: one with ^, a date or a long
    number is refused, but a patient's folder such as Jane_Doe cannot be told from a class."""
    table: TableFile | None = None
    """A CSV file headed file (its name below the path), and any of label, patient and split; null for none."""
    patient: str = ""
    """A regular expression whose first group, in the name below the path, is the patient; empty where it is not."""
    limits: ArchiveLimits = ArchiveLimits()
    """What an archive may become."""

    @property
    def naming(self) -> Naming:
        """How names say what files show."""
        return Naming(self.labels, patient=self.patient, table=self.table)


C = TypeVar("C", bound=NamedFilesConfig)


@dataclass(frozen=True)
class NamedFilesSource(ABC, Generic[C]):
    """List files and read them; a source says which of a folder's files hold images, and how to read one."""

    config: C
    root: Path

    @abstractmethod
    def find(self, folder: Path) -> Mapping[str, tuple[str, ...]]:
        """Return the names of files below a folder, in order, each with those of the files that it needs, as a mask.

        Raises:
            SourceError: there is none.
        """

    @abstractmethod
    def images(self, item: Item, identity: Identity) -> Iterator[Example]:
        """Read the images of a file, whose patient and picture are known, and raise UnreadableImage where it is bad."""

    def items(self) -> Sequence[Item]:
        """List every file in the order of their names.

        Raises:
            SourceError: the table is wrong or names no file, the path is not there or cannot be fetched or unpacked, it
                holds no such file, or classes look like patients.
        """
        naming = self.config.naming
        folder = local_folder(self.config.path, self.root, self.config.limits)
        needed = self.find(folder)
        known = naming.look_up(needed)
        return [
            Item(
                folder / name,
                part=name,
                label=known[name].label,
                beside=(*(folder / other for other in others), *naming.beside),
            )
            for name, others in needed.items()
        ]

    def read(self, item: Item) -> Iterator[Example]:
        """Read the images of a file, and raise UnreadableImage where it is damaged or unfit."""
        naming = self.config.naming
        facts, in_table = naming.of(item.part), naming.row(item.part) != Membership()
        identity = Identity(patient=facts.patient, picture=item.part, series=item.part)
        for example in self.images(item, identity):
            yield replace(
                example,
                label=item.label,
                split=facts.split or None,
                in_table=in_table if self.config.table else None,
            )
