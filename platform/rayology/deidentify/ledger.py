"""What became of each file of a source, by name: it may name patients, so it stays with the key."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from rayology.atomic import append_line, whole_lines, write_atomic
from rayology.errors import SourceError

__all__ = ["NOT_DICOM", "FileOutcome", "Ledger", "Original"]

NOT_DICOM = "not DICOM, left out"


@dataclass(frozen=True)
class FileOutcome:
    """What became of a file: it has a copy, or a reason why not."""

    output: str = ""
    """Path of its copy below the output, in pseudonyms; empty if it has none."""
    reason: str = ""
    """Reason why it is held back; empty if it may leave."""
    found: tuple[str, ...] = ()
    """Attributes whose values would have stayed, such as 'PatientID of a/1.dcm'."""
    is_readable: bool = True
    is_masked: bool = False
    let_pass: str = ""
    """Reason of the rule that let it pass."""
    done: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Number of times that each action was done, by action and keyword."""


@dataclass(frozen=True)
class Original:
    """A file of the source; once it changes it is another."""

    name: str
    """Path of the file below the source."""
    size: int
    changed_ns: int
    """Time of its last change, in ns."""

    @classmethod
    def at(cls, file: Path, source: Path) -> "Original":
        """Return the file as it is now.

        Raises:
            SourceError: it cannot be looked at.
        """
        try:
            status = file.stat()
        except OSError as error:  # its own message names the file, and so perhaps a patient
            raise SourceError(
                f"a file of the source: {error.strerror}; see that each can be read, and start again"
            ) from None
        return cls(str(file.relative_to(source)), status.st_size, status.st_mtime_ns)


LINE = TypeAdapter(tuple[Original, FileOutcome])


class Ledger:
    """Append outcomes as files are done, and find them again after an interruption."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.outcomes = dict(LINE.validate_python(json.loads(line)) for line in whole_lines(file))
        self.forget(())

    def append(self, original: Original, outcome: FileOutcome) -> None:
        """Append what became of a file, which replaces what became of it before."""
        self.outcomes[original] = outcome
        append_line(self._file, _line(original, outcome))

    def forget(self, originals: Iterable[Original]) -> None:
        """Write the ledger anew without some files."""
        for original in originals:
            del self.outcomes[original]
        write_atomic(self._file, "".join(f"{_line(*each)}\n" for each in self.outcomes.items()).encode())


def _line(original: Original, outcome: FileOutcome) -> str:
    """Return a line in ASCII: the name of a file may be any bytes, which pydantic does not write."""
    return json.dumps(LINE.dump_python((original, outcome)))
