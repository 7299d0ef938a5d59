"""Read 512x512 slices in each transfer syntax, ours and other libraries in turn: slices per second of the processor.

python jobs/benchmarks/read_dicom.py
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from peers import OURS, Peer, PeerError, Process, started
from pydantic import PositiveInt
from rich.table import Table
from syntaxes import head, written

from rayology.config import Config
from rayology.errors import ConfigError
from rayology.job import run
from rayology.progress import console, progress_bar
from rayology.session import KEEP_FREED_MEMORY

SCRIPT = Path(__file__).with_name("read_dicom_peer.py")
SYNTAXES = ("raw", "RLE", "JPEG-LS", "JPEG lossless", "JPEG 2000", "HTJ2K", "JPEG 8 bit")
COMPRESSED = SYNTAXES[1:]
REPEATS = 4  # of the files for threads, which take a millisecond to start
DECODERS = ("pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pylibjpeg-rle", "pyjpegls")
PEERS = {
    peer.name: peer
    for peer in (
        Peer("pydicom", ("pydicom", "numpy", *DECODERS)),
        Peer("pydicom-default", ("pydicom", "numpy", "pillow", "python-gdcm", *DECODERS)),
        Peer("simpleitk", ("SimpleITK", "numpy")),
        Peer("monai", ("monai", "pydicom", "numpy", "torch", *DECODERS)),
        Peer("torchio", ("torchio", "torch", "numpy")),
        Peer("dicomsdl", ("dicomsdl", "numpy")),
    )
}


class ReadConfig(Config):
    """What to time."""

    subjects: tuple[str, ...] = tuple(PEERS)
    """Which libraries to compare; rayology is always there."""
    rounds: PositiveInt = 7
    """Times that each library reads each syntax."""
    files: PositiveInt = 16
    """Slices of each time."""
    size: PositiveInt = 512
    """Rows and columns of a slice."""


def main(config: ReadConfig) -> Mapping[str, object]:
    """Return slices per second of the processor for each library and syntax, and how many times a peer's ours are."""
    unknown = set(config.subjects) - set(PEERS)
    if unknown:
        raise ConfigError(f"subjects: {', '.join(sorted(unknown))} not known; write some of: {', '.join(PEERS)}")
    speeds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    threads: dict[str, list[float]] = defaultdict(list)
    notes: list[str] = []
    with TemporaryDirectory() as folder, ExitStack() as stack:
        files = {name: slices(Path(folder), name, config) for name in SYNTAXES}
        processes = start(stack, [PEERS[name] for name in config.subjects], notes)
        with progress_bar("read") as bar:
            for number in range(config.rounds):
                for name in SYNTAXES:
                    means = time_all(processes, name, files[name], speeds, notes)
                    check_means(name, means, notes)
                for name in COMPRESSED:
                    threads[name].append(gain_of_threads(processes["rayology"], REPEATS * files[name]))
                bar.advance(number + 1, config.rounds, f"{len(processes)} libraries")

    medians = {
        library: {name: round(statistics.median(times)) for name, times in found.items()}
        for library, found in speeds.items()
    }
    show(medians, threads, notes)
    ratios = {
        library: {name: round(medians["rayology"][name] / speed, 2) for name, speed in found.items()}
        for library, found in medians.items()
    }
    gains = {name: round(statistics.median(found), 2) for name, found in threads.items()}
    return {"slices_a_cpu_second": medians, "ours_over": ratios, "two_threads_over_one": gains, "notes": notes}


def slices(folder: Path, name: str, config: ReadConfig) -> list[str]:
    """Write different slices in a syntax."""
    files = []
    for number in range(config.files):
        image = head(config.size, seed=number)
        content = written((image >> 4).astype(np.uint8) if name == "JPEG 8 bit" else image.astype(np.int16), name)
        file = folder / f"{name.replace(' ', '-')}-{number:03d}.dcm"
        file.write_bytes(content)
        files.append(str(file))
    return files


def start(stack: ExitStack, peers: Sequence[Peer], notes: list[str]) -> dict[str, Process]:
    """Start ours and every other library that can be installed here, all with the allocator of our workers."""
    processes = {}
    for peer in (OURS, *peers):
        try:
            processes[peer.name] = stack.enter_context(started(peer, SCRIPT, peer.name, variables=KEEP_FREED_MEMORY))
        except PeerError as error:
            notes.append(str(error))
    return processes


def time_all(
    processes: Mapping[str, Process],
    name: str,
    files: list[str],
    speeds: Mapping[str, dict[str, list[float]]],
    notes: list[str],
) -> dict[str, float]:
    """Let each library read the files once; return the mean value that each has seen."""
    means = {}
    for library, process in processes.items():
        try:
            found = process.ask({"files": files, "threads": 1})
        except PeerError as error:
            note = f"{name}: {error}"
            if note not in notes:
                notes.append(note)
            continue
        speeds[library][name].append(len(files) / float(str(found["cpu_s"])))
        means[library] = float(str(found["mean"]))
    return means


def check_means(name: str, means: Mapping[str, float], notes: list[str]) -> None:
    """Note a library that reads other numbers than ours."""
    for library, mean in means.items():
        note = f"{name}: {library} reads a mean of {mean:.1f}, ours is {means['rayology']:.1f}"
        if abs(mean - means["rayology"]) > 0.5 and note not in notes:
            notes.append(note)


def gain_of_threads(process: Process, files: list[str]) -> float:
    """Return how many times faster two threads read than one, by the clock."""
    seconds = [float(str(process.ask({"files": files, "threads": threads})["wall_s"])) for threads in (1, 2)]
    return seconds[0] / seconds[1]


def show(medians: Mapping[str, Mapping[str, int]], threads: Mapping[str, list[float]], notes: list[str]) -> None:
    """Print slices per second, how many times slower each peer is, and what was noted."""
    table = Table("slices per second of the processor", *SYNTAXES)
    ours = medians["rayology"]
    for library, found in medians.items():
        cells = (f"{found[name]} ({ours[name] / found[name]:.2f}x)" if name in found else "-" for name in SYNTAXES)
        table.add_row(library, *cells)
    gains = (f"{statistics.median(threads[name]):.2f}x" if name in threads else "" for name in SYNTAXES)
    table.add_row("ours, two threads over one", *gains)
    console.print(table)
    for note in notes:
        console.print(note, markup=False, highlight=False)


if __name__ == "__main__":
    run(ReadConfig, main)
