"""De-identify every file below a folder; an interrupted run resumes where it stopped."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import islice, permutations
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from rayology.atomic import UNFINISHED, write_atomic
from rayology.data.identity import kept_key
from rayology.data.sources.files.local import files_below
from rayology.deidentify.files import content
from rayology.deidentify.ledger import FileOutcome, Ledger, Original
from rayology.deidentify.profile import Profile, ProfileConfig
from rayology.deidentify.report import REPORTS, Report, report, write_report
from rayology.deidentify.residue import Search, identifiers, residues
from rayology.deidentify.treatment import treat
from rayology.errors import ConfigError, DataError, SourceError
from rayology.progress import Progress

__all__ = ["Progress", "deidentify_folder"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

FILES_A_TASK, FILES_AHEAD = 4, 64
WORK: ContextVar[Callable[[Path], object]] = ContextVar("work")
"""What a process of several does to each file; it travels once, with all values that are searched for."""
REPEATED = "another file holds the same instance"
FOREIGN = "an identifying value of another file would have stayed"


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
    folder = _Folder(source, output, private, config, num_workers)
    num_files = len(folder.originals)
    for done in folder.copy():
        tell(Progress("de-identify", done, 2 * num_files))
    for done in folder.search():
        tell(Progress("search", num_files + done, 2 * num_files))
    found = report(folder.concluded(), config)
    write_report(found, folder.output.parent)
    return found


class _Folder:
    """The files of a source, their copies, and what stays private."""

    def __init__(self, source: Path, output: Path, private: Path, config: ProfileConfig, num_workers: int) -> None:
        source, output, private = (folder.expanduser().resolve() for folder in (source, output, private))
        _check_apart(source=source, output=output, private=private)
        files = files_below(source)
        if not files:
            raise SourceError(f"source: {source}: no such folder, or no file in it; name one with DICOM files below it")
        self._key = kept_key(private / "key")
        decisive = (version("rayology"), config.model_dump_json(), *map(repr, (source, output, self._key)))
        fingerprint = hashlib.sha256("\n".join(decisive).encode()).hexdigest()[:16]
        self._ledger = Ledger(private / f"outcomes-{fingerprint}.jsonl")
        is_new = not self._ledger.outcomes
        if is_new and any(file.parent != output or file.name not in REPORTS for file in files_below(output)):
            # An earlier version kept its outcomes under this name, in another form.
            is_earlier = (private / f"ledger-{fingerprint}.jsonl").exists()
            whose = "a run that another version began" if is_earlier else "other settings, source or version"
            raise ConfigError(f"output: {output} holds files of {whose}; name an empty folder")
        self.originals = [Original.at(file, source) for file, reason in files.items() if not reason]
        self._links = {str(file.relative_to(source)): reason for file, reason in files.items() if reason}
        self._source, self.output = source, output / "dicom"
        self._held_back = private / f"held-back-{fingerprint}.json"
        self._profile = config.build()
        self._num_workers = num_workers
        self._values = dict[str, str]()
        """Values that identify anybody in any file, to be searched for in all of them, and where each stands."""

    def copy(self) -> Iterator[int]:
        """Write the copies that may leave, at most one of an instance; yield how many files are done."""
        files = {original: self._source / original.name for original in self._pending()}
        taken = {outcome.output for outcome in self._ledger.outcomes.values()} - {""}
        work = partial(treat, profile=self._profile, key=self._key)
        num_before = len(self.originals) - len(files)
        for done, (original, treated) in enumerate(self._worked(work, files), num_before + 1):
            self._note(original, treated.values)
            found = tuple(f"{keyword} of {original.name}" for keyword in treated.outcome.found)
            outcome = replace(treated.outcome, found=found)
            if outcome.output in taken:
                outcome = FileOutcome(reason=REPEATED)
            elif outcome.output:
                taken.add(outcome.output)
                write_atomic(self.output / outcome.output, treated.written, mode=0o666)
            self._ledger.append(original, outcome)
            yield done

    def _pending(self) -> list[Original]:
        """List what is still to be done, and remove the copies of files that are gone or changed."""
        done = {original for original in self.originals if self._is_done(original)}
        outdated = self._ledger.outcomes.keys() - done
        for output in {self._ledger.outcomes[original].output for original in outdated} - {""}:
            (self.output / output).unlink(missing_ok=True)
        self._ledger.forget(outdated)
        for unfinished in self.output.rglob(f"*{UNFINISHED}"):
            unfinished.unlink()
        reused = {each: self._source / each.name for each in self.originals if each in done}
        for original, values in self._worked(partial(_values, profile=self._profile), reused):
            self._note(original, values)
        if reused:
            logger.info("%d of %d files were done before and are not done again.", len(reused), len(self.originals))
        return [original for original in self.originals if original not in done]

    def search(self) -> Iterator[int]:
        """Take files that identify anybody back out of the output; yield how many are looked through."""
        outputs = {original: self._ledger.outcomes[original].output for original in self.originals}
        copied = {original: self.output / output for original, output in outputs.items() if output}
        work = partial(_residues, search=Search(self._values), profile=self._profile)
        for done, (original, values) in enumerate(self._worked(work, copied), len(outputs) - len(copied) + 1):
            if values:
                copied[original].unlink()
                origins = tuple(sorted({self._values[value] for value in values}))
                self._ledger.append(original, FileOutcome(reason=FOREIGN, found=origins))
            yield done

    def concluded(self) -> list[FileOutcome]:
        """Return what became of the files, and write a list of those held back, which only its owner can read."""
        links = {name: FileOutcome(reason=reason, is_readable=False) for name, reason in self._links.items()}
        outcomes = {original.name: self._ledger.outcomes[original] for original in self.originals} | links
        files = Counter(origin for outcome in outcomes.values() for origin in outcome.found)
        held = [
            {"file": name, "reason": outcome.reason}
            | ({"files_with": {origin: files[origin] for origin in outcome.found}} if outcome.found else {})
            for name, outcome in outcomes.items()
            if outcome.reason
        ]
        write_atomic(self._held_back, (json.dumps(held, indent=2) + "\n").encode())
        return list(outcomes.values())

    def _worked(self, work: Callable[[Path], T], files: Mapping[Original, Path]) -> Iterator[tuple[Original, T]]:
        """Yield the results in order, worked out only a few ahead; several workers are processes of their own."""
        if self._num_workers == 1:
            yield from ((original, work(file)) for original, file in files.items())
            return
        # A forked process would hold the locks of threads that it does not have.
        with ProcessPoolExecutor(
            self._num_workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(work,)
        ) as pool:
            remaining = iter(files.items())
            while ahead := dict(islice(remaining, self._num_workers * FILES_AHEAD)):
                yield from zip(ahead, pool.map(_work, ahead.values(), chunksize=FILES_A_TASK), strict=True)

    def _note(self, original: Original, values: Mapping[str, str]) -> None:
        for value, keyword in values.items():
            self._values.setdefault(value, f"{keyword} of {original.name}")

    def _is_done(self, original: Original) -> bool:
        outcome = self._ledger.outcomes.get(original)
        if not outcome or outcome.reason in {REPEATED, FOREIGN}:  # the other file may be gone
            return False
        return not outcome.output or (self.output / outcome.output).exists()


def _begin(work: Callable[[Path], object]) -> None:
    WORK.set(work)


def _work(file: Path) -> object:
    return WORK.get()(file)


def _values(file: Path, profile: Profile) -> Mapping[str, str]:
    try:
        return identifiers(content(file).dataset, profile).whole
    except DataError:
        return {}


def _residues(file: Path, search: Search, profile: Profile) -> set[str]:
    return set(residues(content(file), search, profile, of_others=True))


def _check_apart(**folders: Path) -> None:
    """Keep the key out of the output, and both out of the source."""
    for (name, folder), (other, above) in permutations(folders.items(), 2):
        if folder.is_relative_to(above):
            raise ConfigError(f"{name}: {folder} lies within the {other}, {above}; name folders apart from each other")
