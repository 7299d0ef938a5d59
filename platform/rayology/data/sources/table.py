"""A CSV file with labels, patients and splits of images, by the names of their files or by UIDs."""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationError

from rayology.config import Config
from rayology.data.splits import SplitName
from rayology.data.unreadable import as_source_error
from rayology.errors import SourceError

__all__ = ["Membership", "Table", "TableFile", "read_table"]

TableFile = Annotated[Path, AfterValidator(lambda file: file.expanduser().absolute())]
"""Path of a CSV file that means the same in every working folder."""
MAX_BYTES = 2**28
KEYS, COLUMNS = ("file", "uid"), ("label", "patient", "split")
EXPECTED = "a CSV file in UTF-8, its first line file (or uid) and any of label, patient, split, each once"


class Membership(Config):
    """A row of a table."""

    label: str = ""
    """Name of the class."""
    patient: str = ""
    """Patient whose image it is."""
    split: SplitName | Literal[""] = ""
    """Split that the user puts it into."""


@dataclass(frozen=True)
class Table:
    """Content of a CSV file."""

    key: str = ""
    """First heading: file or uid."""
    columns: tuple[str, ...] = ()
    """Headings after the first."""
    rows: Mapping[str, Membership] = field(default_factory=dict)
    """Rows by the name of a file, or by a UID."""


def read_table(file: Path) -> Table:
    """Read a CSV file whose first column is headed file or uid; a changed file is read again.

    Raises:
        SourceError: it is missing or of another form, or two of its rows contradict each other; no message holds a
            value, which may name a patient.
    """
    return _read(file, file.stat().st_mtime_ns if file.is_file() else 0)


@functools.lru_cache(maxsize=2)
def _read(file: Path, changed_at: int) -> Table:
    del changed_at
    remedy = f"set source.table to {EXPECTED}"
    with as_source_error(file, "cannot be read", remedy, OSError, UnicodeDecodeError, csv.Error):
        if file.stat().st_size > MAX_BYTES:
            raise SourceError(f"has more than {MAX_BYTES} bytes; leave out rows that name no image")
        with file.open(encoding="utf-8-sig", newline="") as opened:
            lines = csv.reader(opened, strict=True)
            key, *columns = next(lines, None) or [""]
            if key not in KEYS:
                raise SourceError(f"its first column is headed neither {' nor '.join(KEYS)}; write {EXPECTED}")
            for number, column in enumerate(columns):
                if column not in COLUMNS or column in columns[:number]:
                    wrong = f"column {number + 2} is headed by none of {', '.join(COLUMNS)}, or by a repeated one"
                    raise SourceError(f"{wrong}; leave it out or correct its heading")
            rows: dict[str, Membership] = {}
            for line in filter(None, lines):  # some files end with empty lines
                name, row = _row(line, columns, lines.line_num)
                if rows.setdefault(name, row) != row:
                    wrong = f"line {lines.line_num} contradicts an earlier line of the same {key}"
                    raise SourceError(f"{wrong}; leave one of them out")
            return Table(key, tuple(columns), rows)


def _row(line: list[str], columns: list[str], number: int) -> tuple[str, Membership]:
    name, *values = line
    if not name or len(values) != len(columns):
        wrong = f"line {number} names no image, or has {len(line)} columns instead of {len(columns) + 1}"
        raise SourceError(f"{wrong}; correct it")
    try:
        return name, Membership.model_validate(dict(zip(columns, values, strict=True)))
    except ValidationError:
        raise SourceError(
            f"line {number} has a split other than train, validation and test; write one of them or nothing"
        ) from None
