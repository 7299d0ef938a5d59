"""What sources have in common if files' names, folders or a table say what they show."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from rayology.config import Config
from rayology.data.identity import Identity
from rayology.data.sources.files.archive import ArchiveLimits
from rayology.data.sources.files.local import files_below, local_folder
from rayology.data.sources.labels import Naming
from rayology.data.sources.source import Example, Item
from rayology.data.sources.table import Membership, TableFile
from rayology.errors import SourceError

__all__ = ["NamedFilesConfig", "NamedFilesSource"]

IMAGES = re.compile(r"\.(bmp|dcm|gif|img|jp2|jpe?g|mgz|mha|nii|nii\.gz|nrrd|png|tiff?|webp)$", re.IGNORECASE)
UNFIT = "NotAnImage: is named as an image, but not as this source reads them; rename it, or set source.kind or .image"


class NamedFilesConfig(Config):
    """Files below a folder, with what says whose they are and what they show."""

    path: str
    """Folder, a zip or tar file of one, or the URI of either (file, s3, gs)."""
    labels: Literal["none", "folder", "table"] = "none"
    """Origin of classes: none, the first folder below the path, or the table. Their names are published in datasets,
    bundles and servers, and a patient's folder such as Jane_Doe cannot be told from a class."""
    table: TableFile | None = None
    """CSV file headed file (the name below the path), with any of label, patient and split; null for none."""
    patient: str = ""
    """Regular expression whose first group is the patient in a name below the path; empty if names hold none."""
    limits: ArchiveLimits = ArchiveLimits()
    """Limits on what an archive may unpack to."""

    @property
    def naming(self) -> Naming:
        """Rules by which names give class and patient."""
        return Naming(self.labels, patient=self.patient, table=self.table)


C = TypeVar("C", bound=NamedFilesConfig)


@dataclass(frozen=True)
class NamedFilesSource(ABC, Generic[C]):
    """List files and read them; a subclass finds those that hold images and reads each."""

    config: C
    root: Path

    @abstractmethod
    def find(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """Return which names below the path are images', each with those it needs; raise SourceError if none are."""

    @abstractmethod
    def images(self, item: Item, identity: Identity) -> Iterator[Example]:
        """Read the images of a file with their identity, and raise UnreadableImage if it is damaged or unfit."""

    def items(self) -> Sequence[Item]:
        """List all files with images in the order of their names, then those that are only counted.

        Raises:
            SourceError: the table is wrong or names no file; the path is missing, cannot be fetched or unpacked, or
                holds no such file; or classes look like patients.
        """
        naming = self.config.naming
        folder = local_folder(self.config.path, self.root, self.config.limits)
        reasons = {file.relative_to(folder).as_posix(): reason for file, reason in files_below(folder).items()}
        try:
            needed = self.find(reasons)
        except SourceError as error:
            links = [reason for reason in reasons.values() if reason]
            others = f"; {len(links)} files were left out, such as: {links[0]}" if links else ""
            raise SourceError(f"{folder}: {error}{others}") from None
        known = naming.look_up(needed)
        items = [
            Item(
                folder / name,
                part=name,
                label=known[name].label,
                beside=(*(folder / other for other in others), *naming.beside),
                reason=next((reasons[each] for each in (name, *others) if reasons[each]), ""),
            )
            for name, others in needed.items()
        ]
        rest = reasons.keys() - needed.keys() - {other for others in needed.values() for other in others}
        unread = {name: reasons[name] or UNFIT for name in sorted(rest) if reasons[name] or IMAGES.search(name)}
        return [*items, *(Item(folder / name, part=name, reason=reason) for name, reason in unread.items())]

    def read(self, item: Item) -> Iterator[Example]:
        """Read the images of a file, and raise UnreadableImage if it is damaged or unfit."""
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
