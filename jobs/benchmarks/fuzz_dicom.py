"""Feed the reader damaged files in every transfer syntax: it may refuse them, never crash, hang or grow.

python jobs/benchmarks/fuzz_dicom.py --files 100000
"""

import functools
import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from rich.table import Table
from syntaxes import ENCODERS, NATIVE, head, written

from rayology.config import Config
from rayology.data.dicom import decode
from rayology.errors import DataError
from rayology.job import run
from rayology.progress import console, progress_bar

CHUNK = 200


class FuzzConfig(Config):
    """What to damage."""

    files: PositiveInt = 100_000
    """How many damaged files are read."""
    seed: NonNegativeInt = 0
    """What the damage is drawn from; a file is damaged alike whatever ran before it."""
    folder: Path = Path()
    """Real DICOM files to damage besides the drawn ones, such as a zoo of them; the working folder stands for none."""
    max_bytes: PositiveInt = 200_000
    """The largest real file that is damaged."""
    hang_s: PositiveFloat = 1.0
    """Seconds of the processor from which on a file counts as hung."""
    stuck_s: PositiveFloat = 20.0
    """Seconds after which the process that reads a file is ended."""


@dataclass
class Outcomes:
    """What became of the files."""

    read: Counter[str] = field(default_factory=Counter)
    """How many of each outcome: ok, or the name of an error."""
    foreign: list[str] = field(default_factory=list)
    """Errors that are none of ours, by file."""
    hangs: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Corpus:
    """Whole files by name, and how they are damaged."""

    whole: Mapping[str, bytes]
    seed: int

    @functools.cached_property
    def names(self) -> list[str]:
        """The names in order."""
        return sorted(self.whole)

    def label(self, number: int) -> str:
        """Return what says which damaged file it was."""
        return f"{self.names[number % len(self.names)]}, file {number}"

    def damaged(self, number: int) -> bytes:
        """Return the content of a file, damaged in one of the ways in which files are."""
        generator = np.random.default_rng([self.seed, number])
        content = bytearray(self.whole[self.names[number % len(self.names)]])
        # Headers and the starts of codestreams decide most, so half of the damage lies there.
        end = max(129, len(content) if generator.random() < 0.5 else min(len(content), 1500))
        at = int(generator.integers(128, end))
        match generator.integers(7):
            case 0:
                del content[at:]
            case 1:
                content[at : at + 4] = b"\xff\xff\xff\xff"
            case 2:
                content[at : at + 4] = generator.bytes(4)
            case 3:
                del content[at : at + int(generator.integers(1, 64))]
            case 4:
                content[at:at] = content[at : at + int(generator.integers(1, 512))]
            case 5:
                other = self.whole[self.names[int(generator.integers(len(self.names)))]]
                content[at:] = other[min(at, len(other)) :]
            case _:
                for place in generator.integers(128, end, int(generator.integers(1, 16))):
                    content[min(place, len(content) - 1)] ^= 1 << int(generator.integers(8))
        return bytes(content)


def main(config: FuzzConfig) -> Mapping[str, object]:
    """Return how many files were read, refused, crashed and hung, and the most memory that reading took."""
    corpus = Corpus(dict(originals(config)), config.seed)
    outcomes = Outcomes()
    done = 0
    with progress_bar("fuzz") as bar:
        while done < config.files:
            for number in read_until_it_dies(config, corpus, done, outcomes):
                done = number
                bar.advance(done, config.files, f"{len(outcomes.crashes)} crashes, {len(outcomes.hangs)} hangs")

    table = Table("outcome", "files")
    for outcome, count in outcomes.read.most_common():
        table.add_row(outcome, str(count))
    console.print(table)
    for title, found in (("foreign", outcomes.foreign), ("hang", outcomes.hangs), ("crash", outcomes.crashes)):
        for line in found[:10]:
            console.print(f"{title}: {line}", markup=False, highlight=False)
    return {
        "files": config.files,
        "originals": len(corpus.whole),
        "outcomes": dict(outcomes.read),
        "foreign": len(outcomes.foreign),
        "hangs": len(outcomes.hangs),
        "crashes": len(outcomes.crashes),
        "slowest_s": round(outcomes.slowest_s, 3),
        "peak_mib": outcomes.peak_bytes // 2**20,
    }


def originals(config: FuzzConfig) -> Iterator[tuple[str, bytes]]:
    """Yield the files that are damaged: every syntax in grey, in frames, in 8 bits and in colour, and real ones."""
    grey = head(48)
    bright = (grey >> 4).astype(np.uint8)
    colour = np.stack([bright, bright[::-1], bright.T], axis=-1)
    for name in (*NATIVE, "RLE", *ENCODERS):
        if name != "JPEG 8 bit":
            yield f"{name} grey", written(grey, name)
            yield f"{name} frames", written(grey, name, frames=3)
        if name != "JPEG 12 bit":
            yield f"{name} bytes", written(bright, name)
            yield f"{name} colour", written(colour, name)
    if config.folder != Path():
        for file in sorted(config.folder.rglob("*")):
            if file.is_file() and file.stat().st_size <= config.max_bytes:
                yield str(file.relative_to(config.folder)), file.read_bytes()


def read_until_it_dies(config: FuzzConfig, corpus: Corpus, start: int, outcomes: Outcomes) -> Iterator[int]:
    """Read damaged files in a process of its own; yield how many are done, the one that killed it included."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    current = context.Value("q", start)
    process = context.Process(target=read_on, args=(config, corpus, current, theirs))
    process.start()
    theirs.close()
    done = start
    try:
        while done < config.files:
            before = current.value
            if ours.poll(config.stuck_s):
                done = _counted(ours.recv(), outcomes)
            elif current.value == before:
                outcomes.hangs.append(f"{corpus.label(before)}: over {config.stuck_s:g} s")
                process.kill()
                done = before + 1
                break
            yield done
    except EOFError:
        process.join()
        outcomes.crashes.append(f"{corpus.label(current.value)}: exit status {process.exitcode}")
        done = current.value + 1
    process.join()
    yield done


def _counted(report: tuple[int, Outcomes], outcomes: Outcomes) -> int:
    done, found = report
    outcomes.read.update(found.read)
    outcomes.foreign += found.foreign
    outcomes.hangs += found.hangs
    outcomes.slowest_s = max(outcomes.slowest_s, found.slowest_s)
    outcomes.peak_bytes = max(outcomes.peak_bytes, found.peak_bytes)
    return done


def read_on(config: FuzzConfig, corpus: Corpus, current: "Synchronized[int]", reports: Connection) -> None:
    """Read file after file from the current one on, and report every ``CHUNK`` of them."""
    found = Outcomes()
    for number in range(current.value, config.files):
        current.value = number
        content = corpus.damaged(number)
        started_at = time.process_time()
        found.read[outcome(content, corpus.label(number), found)] += 1
        seconds = time.process_time() - started_at
        found.slowest_s = max(found.slowest_s, seconds)
        if seconds > config.hang_s:
            found.hangs.append(f"{corpus.label(number)}: {seconds:.1f} s")
        if (number + 1) % CHUNK == 0 or number + 1 == config.files:
            found.peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            reports.send((number + 1, found))
            found = Outcomes()


def outcome(content: bytes, label: str, found: Outcomes) -> str:
    """Read one file and return what came of it."""
    try:
        for _ in decode(BytesIO(content)):
            pass
    except DataError as error:
        return type(error).__name__
    except BaseException as error:  # noqa: BLE001 - what escapes the reader is what is looked for
        found.foreign.append(f"{label}: {type(error).__name__}: {error}")
        return "foreign error"
    return "ok"


if __name__ == "__main__":
    run(FuzzConfig, main)
