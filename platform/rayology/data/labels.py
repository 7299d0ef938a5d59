"""What is known of an image beside its pixels, from the folders it lies in, its name, a table, or its header."""

import csv
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from rayology.config import Config
from rayology.data.guard import guarded
from rayology.data.header import read_header
from rayology.data.splits import SplitName
from rayology.data.values import text
from rayology.errors import DataError, SourceError

__all__ = ["Attribute", "Membership", "Naming", "attribute_of"]

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
MAX_TABLE_BYTES = 2**28


class Membership(Config):
    """A row of a table."""

    label: str = ""
    """The name of the class."""
    patient: str = ""
    """Whose image it is."""
    split: SplitName | Literal[""] = ""
    """The split that the user puts it into."""


@dataclass(frozen=True)
class Naming:
    """How the names of files below a source's folder say what they show.

    Raises:
        SourceError: labels come from a table that is not named, or ``patient`` is no regular expression with a group.
    """

    labels: Literal["none", "folder", "table"] = "none"
    splits: Literal["none", "folder"] = "none"
    patient: str = ""
    """A regular expression whose first group is the patient; empty where names say nothing of patients."""
    table: Path | None = None

    def __post_init__(self) -> None:
        if self.labels == "table" and not self.table:
            raise SourceError("source.labels is table, but there is none; set source.table to a CSV file")
        try:
            groups = re.compile(self.patient).groups
        except re.error as error:
            raise SourceError(f"source.patient is no regular expression: {error}") from None
        if self.patient and not groups:
            raise SourceError("source.patient has no group; write one such as _([0-9]+) around what names the patient")

    @property
    def beside(self) -> tuple[Path, ...]:
        """The table, where there is one."""
        return (self.table.expanduser().absolute(),) if self.table else ()

    def of(self, name: str) -> Membership:
        """Return what is known of a file by its name below the folder, with ``/`` between the parts.

        Raises:
            SourceError: the table cannot be read.
        """
        row = self.row(name)
        folders = name.split("/")[:-1]
        split = row.split
        if self.splits == "folder" and folders:
            split = SPLIT_FOLDERS.get(folders.pop(0).lower(), "")
        found = re.search(self.patient, name) if self.patient else None
        return Membership(
            label=_label(self.labels, folders, row),
            patient=row.patient or (found.group(1) if found else ""),
            split=split,
        )

    def row(self, key: str) -> Membership:
        """Return the row of a table for the name of a file, or for a UID; an empty one where there is none."""
        rows: dict[str, Membership] = {}
        for table in self.beside:
            rows = _read_table(table, table.stat().st_mtime_ns if table.is_file() else 0)
        return rows.get(key, Membership())


def attribute_of(file: Path, attribute: Attribute) -> str:
    """Return the value of an attribute of a DICOM file where it is one code string (DICOM PS3.5 6.2), else nothing."""
    try:
        with file.open("rb") as stream, guarded("its header cannot be read"):
            value = text(read_header(stream), attribute)
    except (DataError, OSError):
        return ""
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else ""


def _label(labels: str, folders: list[str], row: Membership) -> str:
    match labels:
        case "folder":
            return folders[0] if folders else ""
        case "table":
            return row.label
        case _:
            return ""


@functools.lru_cache(maxsize=2)
def _read_table(file: Path, changed_at: int) -> dict[str, Membership]:
    """Read a CSV file whose first column is headed file or uid; the others any of label, patient and split."""
    del changed_at
    expected = "a CSV file with the headings file (or uid) and any of label, patient, split"
    try:
        if file.stat().st_size > MAX_TABLE_BYTES:
            raise SourceError(f"{file}: has more than {MAX_TABLE_BYTES} bytes; write {expected}")
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = csv.reader(opened, strict=True)
            key, *headings = next(rows)
            if key not in {"file", "uid"}:
                raise SourceError(f"{file}: its first column is headed {key[:20]!r}; write {expected}")
            table: dict[str, Membership] = {}
            for name, *row in rows:
                if name in table:
                    raise SourceError(
                        f"{file}: two rows of one {key}, such as line {rows.line_num}; write one for each"
                    )
                table[name] = Membership.model_validate(dict(zip(headings, row, strict=True)))
            return table
    except (OSError, StopIteration, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{file}: cannot be read ({type(error).__name__}); set source.table to {expected}") from None
    except ValueError as error:
        fields = {str(each["loc"][0]) for each in error.errors()} if isinstance(error, ValidationError) else {"a row"}
        raise SourceError(f"{file}: wrong in {', '.join(sorted(fields))}; write {expected}") from None
