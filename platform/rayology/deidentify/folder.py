"""De-identify every file below a folder; an interrupted run resumes where it stopped."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path

from rayology.atomic import UNFINISHED, write_atomic
from rayology.data.identity import kept_key
from rayology.data.sources.files.local import files_below
from rayology.deidentify.files import content
from rayology.deidentify.ledger import Ledger, Line
from rayology.deidentify.profile import Profile, ProfileConfig
from rayology.deidentify.report import REPORTS, Report, report, write_report
from rayology.deidentify.residue import Search, identifiers
from rayology.deidentify.treatment import Treated, treat
from rayology.errors import ConfigError, DataError, SourceError

__all__ = ["Progress", "deidentify_folder"]

FILES_A_TASK, FILES_AHEAD = 4, 64
REPEATED = "another file holds the same instance"
FOREIGN = "an identifying value of another file would have stayed"


@dataclass(frozen=True)
class Progress:
    """Progress on a folder."""

    stage: str
    done: int
    total: int
    """Files, each of which is treated and then searched."""


def _ignore(progress: Progress) -> None:
    del progress


def deidentify_folder(
    source: Path,
    output: Path,
    private: Path,
    config: ProfileConfig,
    *,
    workers: int = 1,
    tell: Callable[[Progress], None] = _ignore,
) -> Report:
    """Write a copy of each file that may leave under ``output/dicom``, and a report next to it.

    The key, which gives the same pseudonyms in the next run, and all that names a file stay in the private folder:
    ``key``, ``held-back-*.json``, and the ledger from which an interrupted run resumes. The number of processes
    does not change what is written.

    Raises:
        ConfigError: one of the folders lies within another, or the output holds what other settings wrote.
        SourceError: the source is not there or holds no file.
    """
    folder = _opened(source, output, private, config)
    files = sorted(files_below(folder.source))
    pending = folder.pending(files)
    for done, (line, treated) in enumerate(folder.treatments(pending, workers), len(files) - len(pending) + 1):
        folder.take(line, treated)
        tell(Progress("de-identify", done, 2 * len(files)))
    search = Search(folder.values)
    for done, file in enumerate(files, len(files) + 1):
        folder.search(file, search)
        tell(Progress("search", done, 2 * len(files)))
    found = report(folder.concluded(files), config)
    write_report(found, folder.output.parent)
    return found


def _opened(source: Path, output: Path, private: Path, config: ProfileConfig) -> "_Folder":
    source, output, private = (folder.expanduser().resolve() for folder in (source, output, private))
    _check_apart(source=source, output=output, private=private)
    if not any(True for _ in files_below(source)):
        raise SourceError(f"source: {source}: no such folder, or no file in it; name one with DICOM files below it")
    key = kept_key(private / "key")
    fingerprint = _fingerprint(config, source, output, key)
    ledger = Ledger(private / f"ledger-{fingerprint}.jsonl")
    if not ledger.lines and any(file.parent != output or file.name not in REPORTS for file in files_below(output)):
        raise ConfigError(f"output: {output} holds files of other settings or another source; name an empty folder")
    return _Folder(
        source=source,
        output=output / "dicom",
        held_back=private / f"held-back-{fingerprint}.json",
        profile=config.build(),
        key=key,
        ledger=ledger,
    )


@dataclass
class _Folder:
    source: Path
    output: Path
    held_back: Path
    profile: Profile
    key: bytes
    ledger: Ledger
    values: set[str] = field(default_factory=set)
    """Values that identify anybody in any file, to be searched for in all of them."""

    def pending(self, files: Sequence[Path]) -> list[Line]:
        """List what is still to be done, and remove the copies of files that are gone or changed."""
        found = {self._name(file): file.stat() for file in files}
        lines = [Line(name, status.st_size, status.st_mtime_ns) for name, status in found.items()]
        pending = [line for line in lines if not self._is_done(line)]
        outdated = self.ledger.lines.keys() - ({line.file for line in lines} - {line.file for line in pending})
        for output in {self.ledger.lines[name].output for name in outdated} - {""}:
            (self.output / output).unlink(missing_ok=True)
        self.ledger.forget(outdated)
        for unfinished in self.output.rglob(f"*{UNFINISHED}"):
            unfinished.unlink()
        for name in self.ledger.lines:
            self.values |= _values(self.source / name, self.profile)
        self._taken = {line.output for line in self.ledger.lines.values()} - {""}
        return pending

    def treatments(self, lines: Sequence[Line], workers: int) -> Iterator[tuple[Line, Treated]]:
        """Treat files in order and only a few ahead; several workers are processes of their own."""
        work = partial(treat, profile=self.profile, key=self.key)
        files = [self.source / line.file for line in lines]
        if workers == 1:
            yield from zip(lines, map(work, files), strict=True)
            return
        # A forked process would hold the locks of threads that it does not have.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for start in range(0, len(files), workers * FILES_AHEAD):
                ahead = slice(start, start + workers * FILES_AHEAD)
                yield from zip(lines[ahead], pool.map(work, files[ahead], chunksize=FILES_A_TASK), strict=True)

    def take(self, line: Line, treated: Treated) -> None:
        """Bring a copy into the output, unless one of the same instance is there."""
        self.values |= treated.values
        if treated.name in self._taken:
            treated = Treated(reason=REPEATED)
        if treated.written:
            self._taken.add(treated.name)
            write_atomic(self.output / treated.name, treated.written, mode=0o666)
        done = {" ".join(what): count for what, count in treated.done.items()}
        facts = (treated.name, treated.reason, treated.is_readable, treated.is_masked, done, treated.let_pass)
        self.ledger.append(Line(line.file, line.size, line.changed_ns, *facts))

    def search(self, file: Path, search: Search) -> None:
        """Take a file back out of the output if it identifies anybody."""
        line = self.ledger.lines[self._name(file)]
        if line.output and search.finds(content(self.output / line.output)):
            (self.output / line.output).unlink()
            self.ledger.append(replace(line, output="", reason=FOREIGN, done={}))

    def concluded(self, files: Sequence[Path]) -> list[Line]:
        """Return what became of the files, and write a list of those held back, which only its owner can read."""
        lines = [self.ledger.lines[self._name(file)] for file in files]
        held = [{"file": line.file, "reason": line.reason} for line in lines if line.reason]
        write_atomic(self.held_back, (json.dumps(held, indent=2) + "\n").encode())
        return lines

    def _name(self, file: Path) -> str:
        return str(file.relative_to(self.source))

    def _is_done(self, line: Line) -> bool:
        before = self.ledger.lines.get(line.file)
        if not before or (before.size, before.changed_ns) != (line.size, line.changed_ns) or before.reason == REPEATED:
            return False
        return not before.output or (self.output / before.output).exists()


def _values(file: Path, profile: Profile) -> frozenset[str]:
    try:
        return identifiers(content(file).dataset, profile).whole
    except DataError:
        return frozenset()


def _fingerprint(config: ProfileConfig, *decisive: object) -> str:
    parts = (version("rayology"), config.model_dump_json(), *map(repr, decisive))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _check_apart(**folders: Path) -> None:
    """Keep the key out of the output, and both out of the source."""
    for (name, folder), (other, above) in permutations(folders.items(), 2):
        if folder.is_relative_to(above):
            raise ConfigError(f"{name}: {folder} lies within the {other}, {above}; name folders apart from each other")
