"""De-identify every file below a folder; an interrupted run resumes where it stopped."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import permutations
from multiprocessing import get_context
from pathlib import Path

from rayology.atomic import UNFINISHED, write_atomic
from rayology.data.identity import kept_key
from rayology.data.sources.files.local import files_below
from rayology.deidentify.files import content
from rayology.deidentify.ledger import FileOutcome, Ledger, Original
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


def deidentify_folder(
    source: Path,
    output: Path,
    private: Path,
    config: ProfileConfig,
    *,
    num_workers: int = 1,
    tell: Callable[[Progress], object] = lambda _: None,
) -> Report:
    """Write a copy of each file that may leave under ``output/dicom``, and a report next to it.

    The key, which gives the same pseudonyms in the next run, and all that names a file stay in the private folder:
    ``key``, ``held-back-*.json``, and ``outcomes-*.jsonl``, from which an interrupted run resumes. The number of
    processes does not change what is written.

    Raises:
        ConfigError: one of the folders lies within another, or the output holds what other settings wrote.
        SourceError: the source is not there or holds no file.
    """
    folder = _Folder(source, output, private, config)
    originals, pending = folder.originals, folder.pending()
    total = 2 * len(originals)
    for done, (original, treated) in enumerate(
        folder.treatments(pending, num_workers), len(originals) - len(pending) + 1
    ):
        folder.take(original, treated)
        tell(Progress("de-identify", done, total))
    search = Search(folder.values)
    for done, original in enumerate(originals, len(originals) + 1):
        folder.search(original, search)
        tell(Progress("search", done, total))
    found = report(folder.concluded(), config)
    write_report(found, folder.output.parent)
    return found


class _Folder:
    """The files of a source, their copies, and what stays private."""

    def __init__(self, source: Path, output: Path, private: Path, config: ProfileConfig) -> None:
        source, output, private = (folder.expanduser().resolve() for folder in (source, output, private))
        _check_apart(source=source, output=output, private=private)
        files = files_below(source)
        if not files:
            raise SourceError(f"source: {source}: no such folder, or no file in it; name one with DICOM files below it")
        self._key = kept_key(private / "key")
        fingerprint = _fingerprint(config, source, output, self._key)
        self._ledger = Ledger(private / f"outcomes-{fingerprint}.jsonl")
        is_new = not self._ledger.outcomes
        if is_new and any(file.parent != output or file.name not in REPORTS for file in files_below(output)):
            # An earlier version kept its outcomes under this name, in another form.
            is_earlier = (private / f"ledger-{fingerprint}.jsonl").exists()
            whose = "a run that another version began" if is_earlier else "other settings or another source"
            raise ConfigError(f"output: {output} holds files of {whose}; name an empty folder")
        self.originals = [Original.at(file, source, followed=not reason) for file, reason in files.items()]
        self._links = {one: reason for one, reason in zip(self.originals, files.values(), strict=True) if reason}
        self._source, self.output = source, output / "dicom"
        self._held_back = private / f"held-back-{fingerprint}.json"
        self._profile = config.build()
        self.values = set[str]()
        """Values that identify anybody in any file, to be searched for in all of them."""

    def pending(self) -> list[Original]:
        """List what is still to be done, and remove the copies of files that are gone or changed."""
        done = {original for original in self.originals if self._is_done(original)}
        outdated = self._ledger.outcomes.keys() - done
        for output in {self._ledger.outcomes[original].output for original in outdated} - {""}:
            (self.output / output).unlink(missing_ok=True)
        self._ledger.forget(outdated)
        for unfinished in self.output.rglob(f"*{UNFINISHED}"):
            unfinished.unlink()
        for original in self._links.keys() - done:
            self._ledger.append(original, FileOutcome(reason=self._links[original], is_readable=False))
        done |= self._links.keys()
        for original in done - self._links.keys():
            self.values |= _values(self._source / original.name, self._profile)
        self._taken = {outcome.output for outcome in self._ledger.outcomes.values()} - {""}
        return [original for original in self.originals if original not in done]

    def treatments(self, originals: Sequence[Original], num_workers: int) -> Iterator[tuple[Original, Treated]]:
        """Treat files in order and only a few ahead; several workers are processes of their own."""
        work = partial(treat, profile=self._profile, key=self._key)
        files = [self._source / original.name for original in originals]
        if num_workers == 1:
            yield from zip(originals, map(work, files), strict=True)
            return
        # A forked process would hold the locks of threads that it does not have.
        with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
            for start in range(0, len(files), num_workers * FILES_AHEAD):
                ahead = slice(start, start + num_workers * FILES_AHEAD)
                yield from zip(originals[ahead], pool.map(work, files[ahead], chunksize=FILES_A_TASK), strict=True)

    def take(self, original: Original, treated: Treated) -> None:
        """Bring a copy into the output, unless one of the same instance is there."""
        self.values |= treated.values
        outcome = treated.outcome
        if outcome.output in self._taken:
            outcome = FileOutcome(reason=REPEATED)
        elif outcome.output:
            self._taken.add(outcome.output)
            write_atomic(self.output / outcome.output, treated.written, mode=0o666)
        self._ledger.append(original, outcome)

    def search(self, original: Original, search: Search) -> None:
        """Take a file back out of the output if it identifies anybody."""
        output = self._ledger.outcomes[original].output
        if output and search.finds(content(self.output / output)):
            (self.output / output).unlink()
            self._ledger.append(original, FileOutcome(reason=FOREIGN))

    def concluded(self) -> list[FileOutcome]:
        """Return what became of the files, and write a list of those held back, which only its owner can read."""
        outcomes = {original.name: self._ledger.outcomes[original] for original in self.originals}
        held = [{"file": name, "reason": outcome.reason} for name, outcome in outcomes.items() if outcome.reason]
        write_atomic(self._held_back, (json.dumps(held, indent=2) + "\n").encode())
        return list(outcomes.values())

    def _is_done(self, original: Original) -> bool:
        outcome = self._ledger.outcomes.get(original)
        if not outcome or outcome.reason == REPEATED:
            return False
        return not outcome.output or (self.output / outcome.output).exists()


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
