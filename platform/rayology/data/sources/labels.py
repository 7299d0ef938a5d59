"""What is known of an image beside its pixels, from the folders it lies in, its name, a table, or its header."""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from rayology.data.dicom.header import read_header
from rayology.data.dicom.values import text
from rayology.data.sources.classes import check_are_classes, check_class_names, check_not_patients, identifies
from rayology.data.sources.table import Membership, Table, read_table
from rayology.data.splits import SplitName
from rayology.data.unreadable import as_unreadable
from rayology.errors import SourceError

__all__ = ["Attribute", "Naming", "attribute_of"]

Attribute = Literal["BodyPartExamined", "ImageLaterality", "Laterality", "Modality", "PatientSex", "ViewPosition"]
"""The attributes that may name classes: code strings from lists of the standard, never free text (DICOM PS3.3)."""

SPLIT_FOLDERS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Naming:
    """How the names of files below a source's folder say what they show.

    Raises:
        SourceError: the table is wrong, labels come from one that is not named or has none, or ``patient`` is no
            regular expression with a group.
    """

    labels: Literal["none", "folder", "table"] = "none"
    splits: Literal["none", "folder"] = "none"
    patient: str = ""
    """A regular expression whose first group is the patient; empty where names say nothing of patients."""
    table: Path | None = None
    has_uids: bool = False
    """Whether files hold UIDs, by which a table may name images too."""

    def __post_init__(self) -> None:
        if self.labels == "table" and not self.table:
            raise SourceError("source.labels is table, but there is none; set source.table to a CSV file")
        known = self._known  # read even where labels come from elsewhere: a wrong table is found before any image
        if self.labels == "table" and "label" not in known.columns:
            raise SourceError(f"{self.table}: has no column headed label; add one, or write source.labels: none")
        try:
            groups = re.compile(self.patient).groups
        except re.error as error:
            raise SourceError(f"source.patient is no regular expression: {error}") from None
        if self.patient and not groups:
            raise SourceError("source.patient has no group; write one such as _([0-9]+) around what names the patient")

    @property
    def beside(self) -> tuple[Path, ...]:
        """The table, where there is one."""
        return (self.table,) if self.table else ()

    def look_up(self, names: Collection[str]) -> dict[str, Membership]:
        """Return what is known of each file, as ``of`` does.

        Raises:
            SourceError: the table names none of the files though it names no UIDs, or gives none a label where labels
                come from it; or the name of a class identifies a patient, or folders of classes look like patients.
        """
        known = {name: self.of(name) for name in names}
        table = self._known
        said = [row for name in names if (row := table.rows.get(name)) and (row.label or self.labels != "table")]
        if self.table and not said and not (self.has_uids and table.key == "uid"):
            raise SourceError(
                f"the source: no row of the table gives any of {len(known)} files "
                f"{'a label' if self.labels == 'table' else 'anything'}; write their names as below source.path, with "
                "/ between folders"
            )
        rows = table.rows if self.labels == "table" else known
        check_class_names({row.label for row in rows.values()} - {""})
        if self.labels == "folder":
            patients: dict[str, list[str]] = defaultdict(list)
            for row in known.values():
                patients[row.label].append(row.patient)
            patients.pop("", None)
            if self.has_uids:  # whose images they are is known, and looked at, once they are read
                check_not_patients(patients)
            else:
                check_are_classes(patients)
        return known

    def of(self, name: str) -> Membership:
        """Return what is known of a file by its name below the folder, with ``/`` between the parts."""
        row = self.row(name)
        folders = name.split("/")[:-1]
        split = row.split
        if self.splits == "folder" and folders:
            split = SPLIT_FOLDERS.get(folders.pop(0).lower(), "")
        found = re.search(self.patient, name) if self.patient else None
        return Membership(
            label={"folder": folders[0] if folders else "", "table": row.label}.get(self.labels, ""),
            patient=row.patient or (found and found.group(1)) or "",
            split=split,
        )

    def row(self, key: str) -> Membership:
        """Return the row of a table for the name of a file, or for a UID; an empty one where there is none."""
        return self._known.rows.get(key, Membership())

    @property
    def _known(self) -> Table:
        return read_table(*self.beside) if self.table else Table()


def attribute_of(stream: BinaryIO, attribute: Attribute) -> str:
    """Return the value of an attribute of a DICOM file where it is one code string (DICOM PS3.5 6.2), else nothing.

    One that identifies, such as a date, counts as none.

    Raises:
        DataError: as ``rayology.data.dicom.decode`` raises of a header.
    """
    with as_unreadable("its header cannot be read"):
        value = text(read_header(stream), attribute)
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) and not identifies(value) else ""
