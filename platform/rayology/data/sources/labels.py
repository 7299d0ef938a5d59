"""What is known about an image besides its pixels: from its folders, its name, a table, or its header."""

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
"""Attributes that may name classes: code strings that the standard lists, never free text (DICOM PS3.3)."""

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
        SourceError: the table is wrong or, if labels come from it, missing or without labels; or ``patient`` is not a
            regular expression with a group.
    """

    labels: Literal["none", "folder", "table"] = "none"
    splits: Literal["none", "folder"] = "none"
    patient: str = ""
    """Regular expression whose first group is the patient; empty if names say nothing about patients."""
    table: Path | None = None
    has_uids: bool = False
    """Whether files have UIDs, which a table may name instead."""

    def __post_init__(self) -> None:
        if self.labels == "table" and not self.table:
            raise SourceError("source.labels is table, but there is none; set source.table to a CSV file")
        known = self._known  # read even if labels come from elsewhere: a wrong table is found before any image
        if self.labels == "table" and "label" not in known.columns:
            raise SourceError(f"{self.table}: has no column headed label; add one, or write source.labels: none")
        try:
            groups = re.compile(self.patient).groups
        except re.error as error:
            raise SourceError(f"source.patient is not a regular expression: {error}") from None
        if self.patient and not groups:
            raise SourceError("source.patient has no group; write one such as _([0-9]+) around what names the patient")

    @property
    def beside(self) -> tuple[Path, ...]:
        """The table, if there is one."""
        return (self.table,) if self.table else ()

    def look_up(self, names: Collection[str]) -> dict[str, Membership]:
        """Return what is known about each file, as ``of`` does.

        Raises:
            SourceError: the table, unless it names UIDs, names no file, or gives no file a label although labels come
                from it; the name of a class identifies a patient; or folders of classes look like patients.
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
            if self.has_uids:  # their patients are known, and checked, once they are read
                check_not_patients(patients)
            else:
                check_are_classes(patients)
        return known

    def of(self, name: str) -> Membership:
        """Return what is known about a file by its name below the folder, with ``/`` between the parts."""
        row = self.row(name)
        # Names of classes are published as UTF-8, so other bytes of a folder's name are written out: \xf6.
        folders = name.encode(errors="surrogateescape").decode(errors="backslashreplace").split("/")[:-1]
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
        """Return the row of the table for the name of a file or a UID; an empty one if there is none."""
        return self._known.rows.get(key, Membership())

    @property
    def _known(self) -> Table:
        return read_table(*self.beside) if self.table else Table()


def attribute_of(stream: BinaryIO, attribute: Attribute) -> str:
    """Return an attribute of a DICOM file if it is one code string (DICOM PS3.5 6.2) that identifies no patient.

    Return an empty string otherwise, and raise what ``rayology.data.dicom.decode`` raises about a header.
    """
    with as_unreadable("its header cannot be read"):
        value = text(read_header(stream), attribute)
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) and not identifies(value) else ""
