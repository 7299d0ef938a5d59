"""What became of each file of a source, by name: it may name patients, so it stays with the key."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rayology.atomic import append_line, whole_lines, write_atomic

__all__ = ["Ledger", "Line"]


@dataclass(frozen=True)
class Line:
    """What became of a file."""

    file: str
    """Path of the file below the source."""
    size: int
    changed_ns: int
    """Time of its last change, in ns."""
    output: str = ""
    """Path of its copy below the output; empty if it has none."""
    reason: str = ""
    is_readable: bool = True
    is_masked: bool = False
    done: Mapping[str, int] = field(default_factory=dict)
    """Number of times that each action was done, by action and keyword in one word."""
    let_pass: str = ""
    """Reason of the rule that let it pass."""


class Ledger:
    """Append lines as files are done, and find them again after an interruption."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.lines = {line.file: line for line in (Line(**json.loads(text)) for text in whole_lines(file))}
        self.forget(())

    def append(self, line: Line) -> None:
        """Append a line to the others."""
        self.lines[line.file] = line
        append_line(self._file, json.dumps(asdict(line)))

    def forget(self, files: Iterable[str]) -> None:
        """Write the ledger anew without the lines of some files."""
        for file in files:
            self.lines.pop(file, None)
        write_atomic(self._file, "".join(json.dumps(asdict(line)) + "\n" for line in self.lines.values()).encode())
