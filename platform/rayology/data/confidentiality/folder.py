"""De-identify every file below a folder; what was interrupted goes on where it stopped."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import permutations
from pathlib import Path

from rayology.data.confidentiality.files import content
from rayology.data.confidentiality.ledger import Ledger, Line
from rayology.data.confidentiality.profile import Profile, ProfileConfig
from rayology.data.confidentiality.report import Report, report, write_report
from rayology.data.confidentiality.residue import Search, identifiers
from rayology.data.confidentiality.treatment import Treated, treat
from rayology.data.folder import FolderConfig
from rayology.data.identity import kept_key
from rayology.data.private import write_private
from rayology.errors import ConfigError, DataError

__all__ = ["Progress", "deidentify_folder"]

REPEATED = "another file holds the same instance"
FOREIGN = "an identifying value of another file would have stayed"


@dataclass(frozen=True)
class Progress:
    """How far a folder is."""

    stage: str
    done: int
    total: int
    """Files, each of which is treated and then searched."""


def _ignore(progress: Progress) -> None:
    del progress


def deidentify_folder(
    source: Path, output: Path, private: Path, config: ProfileConfig, *, tell: Callable[[Progress], None] = _ignore
) -> Report:
    """Write a copy of each file that may leave under ``output/dicom``, and a report beside it.

    The key, which gives the same pseudonyms in the next run, and all that names a file stay in the private folder:
    ``key``, ``held-back-*.json``, and the ledger from which an interrupted run goes on.

    Raises:
        ConfigError: one of the folders lies within another, or the output holds what other settings wrote.
        SourceError: the source is not there or holds no file.
    """
    source, output, private = (folder.expanduser().resolve() for folder in (source, output, private))
    _check_apart(source=source, output=output, private=private)
    files = [item.path for item in FolderConfig(path=source).build(output).items()]
    key = kept_key(private / "key")
    fingerprint = _fingerprint(config, source, output, key)
    ledger = Ledger(private / f"ledger-{fingerprint}.jsonl")
    if not ledger.lines and output.exists() and any(output.iterdir()):
        raise ConfigError(f"output: {output} holds files of other settings or another source; name an empty folder")

    folder = _Folder(source, output / "dicom", config.build(), key, ledger)
    folder.clear(files)
    for done, file in enumerate(files, 1):
        folder.treat(file)
        tell(Progress("de-identify", done, 2 * len(files)))
    search = Search(folder.values)
    for done, file in enumerate(files, 1):
        folder.search(file, search)
        tell(Progress("search", len(files) + done, 2 * len(files)))

    lines = [ledger.lines[str(file.relative_to(source))] for file in files]
    held = [{"file": line.file, "reason": line.reason} for line in lines if line.reason]
    write_private(private / f"held-back-{fingerprint}.json", (json.dumps(held, indent=2) + "\n").encode())
    found = report(lines, config)
    write_report(found, output)
    return found


@dataclass
class _Folder:
    source: Path
    output: Path
    profile: Profile
    key: bytes
    ledger: Ledger
    values: set[str] = field(default_factory=set)
    """What identifies anybody in any file, to be searched for in all of them."""

    def __post_init__(self) -> None:
        self._taken = {line.output: line.file for line in self.ledger.lines.values() if line.output}

    def clear(self, files: Sequence[Path]) -> None:
        """Take back what came of files that are gone, and what a killed run left."""
        for gone in self.ledger.lines.keys() - {self._name(file) for file in files}:
            if self.ledger.lines[gone].output:
                (self.output / self.ledger.lines[gone].output).unlink(missing_ok=True)
        for unfinished in self.output.rglob("*.unfinished"):
            unfinished.unlink()

    def treat(self, file: Path) -> None:
        """Bring one file into the output, unless it was before and is the same."""
        name, status = self._name(file), file.stat()
        line = Line(name, status.st_size, status.st_mtime_ns)
        before = self.ledger.lines.get(name)
        if before and (before.size, before.changed_ns) == (line.size, line.changed_ns) and self._is_there(before):
            self.values |= _values(file, self.profile)
            return
        if before and before.output:
            (self.output / before.output).unlink(missing_ok=True)
        treated = treat(file, self.profile, self.key)
        self.values |= treated.values
        if treated.written and self._taken.setdefault(treated.name, name) != name:
            treated = Treated(reason=REPEATED)
        if treated.written:
            _write(self.output / treated.name, treated.written)
        done = {" ".join(what): count for what, count in treated.done.items()}
        facts = (treated.name, treated.reason, treated.is_readable, treated.is_masked, done)
        self.ledger.append(Line(name, line.size, line.changed_ns, *facts))

    def search(self, file: Path, search: Search) -> None:
        """Take a file back out of the output where it holds what identifies anybody."""
        line = self.ledger.lines[self._name(file)]
        if line.output and search.finds(content(self.output / line.output)):
            (self.output / line.output).unlink()
            self.ledger.append(replace(line, output="", reason=FOREIGN, done={}))

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self.source))

    def _is_there(self, line: Line) -> bool:
        return not line.output or (self.output / line.output).exists()


def _values(file: Path, profile: Profile) -> frozenset[str]:
    try:
        return identifiers(content(file).dataset, profile).whole
    except DataError:
        return frozenset()


def _write(file: Path, written: bytes) -> None:
    """Write a file in one step, so that a killed run leaves no half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_bytes(written)
    unfinished.rename(file)


def _fingerprint(config: ProfileConfig, *decisive: object) -> str:
    parts = (version("rayology"), config.model_dump_json(), *map(repr, decisive))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _check_apart(**folders: Path) -> None:
    """Keep the key out of what is handed on, and both out of what is read."""
    for (name, folder), (other, above) in permutations(folders.items(), 2):
        if folder.is_relative_to(above):
            raise ConfigError(f"{name}: {folder} lies within the {other}, {above}; name folders apart from each other")
