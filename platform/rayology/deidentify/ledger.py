"""What became of each file of a source, by name: it may name patients, so it stays with the key."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rayology.data.private import write_private

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
        texts = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
        whole = [text for text in texts if text.endswith("\n")]  # the last may have been cut
        self._file = file
        self.lines = {line.file: line for line in (Line(**json.loads(text)) for text in whole)}
        self.forget(())

    def append(self, line: Line) -> None:
        """Append a line to the others."""
        self.lines[line.file] = line
        with self._file.open("a", encoding="utf-8") as opened:
            opened.write(_written(line))

    def forget(self, files: Iterable[str]) -> None:
        """Write the ledger anew without the lines of some files."""
        for file in files:
            self.lines.pop(file, None)
        write_private(self._file, "".join(map(_written, self.lines.values())).encode())


def _written(line: Line) -> str:
    return json.dumps(asdict(line)) + "\n"
