"""Count the images a second that one process feeds in shuffled batches of 64, next to other libraries, interleaved.

python jobs/benchmarks/feed.py

By the clock, and by the core: a second of computing in whichever thread or process of the library.
"""

import contextlib
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from peers import OURS, Peer, PeerError, Process, started
from pydantic import PositiveFloat, PositiveInt
from rich.table import Table

from rayology.config import Config
from rayology.errors import ConfigError
from rayology.job import run
from rayology.progress import console

SCRIPT = Path(__file__).parent / "feed_peer.py"
FORMS = ("float", "integers")
BATCH_SIZE, LEVELS = 64, 4096  # as in the script

Rates = dict[str, dict[str, int]]
_LITDATA = ("boto3", "filelock", "lightning-utilities", "numpy", "obstore", "requests", "tifffile", "torch")
_MOSAICML = (
    "boto3",
    "brotli",
    "catalogue",
    "numpy",
    "pillow",
    "python-snappy",
    "torch",
    "tqdm",
    "transformers<5",
    "xxhash",
    "zstd",
)
_RAY = Peer("ray", ("numpy", "ray[data,train]", "torch"))
SUBJECTS = {
    OURS.name: OURS,
    "MONAI CacheDataset": Peer("monai", ("monai", "numpy", "torch")),
    "torch DataLoader": Peer("torch", ("numpy", "torch")),
    "WebDataset": Peer("webdataset", ("numpy", "torch", "webdataset")),
    "MosaicML streaming": Peer("mosaicml", _MOSAICML, alone=("mosaicml-streaming",)),  # it asks for torchvision
    "LitData": Peer("litdata", _LITDATA, alone=("litdata",)),  # as before
    "Ray Data, materialised": _RAY,
    "Ray Data, streaming": _RAY,
}


class FeedConfig(Config):
    """What to count."""

    subjects: tuple[str, ...] = tuple(SUBJECTS)
    """Which libraries to compare; rayology is always there."""
    sizes: tuple[PositiveInt, ...] = (128, 256)
    """Rows and columns of the images."""
    megabytes: PositiveInt = 256
    """Size of the images of each kind, stored as 16 bits."""
    rounds: PositiveInt = 5
    """Times that each library is asked in turn."""
    seconds: PositiveFloat = 1.0
    """Length of each time."""


def main(config: FeedConfig) -> Mapping[str, object]:
    """Return the median images a second of each library, size and form, by the clock and by the core."""
    unknown = set(config.subjects) - set(SUBJECTS)
    if unknown:
        raise ConfigError(f"subjects: {', '.join(sorted(unknown))} not known; write some of: {', '.join(SUBJECTS)}")
    answers: dict[str, object] = {}
    for size in config.sizes:
        rates, missing = compared(config, size)
        console.print(table(rates, size))
        for name, reason in missing.items():
            console.print(f"{name} is missing: {reason}", style="yellow", markup=False, highlight=False)
        answers[str(size)] = {"images_a_second": rates, "missing": missing}
    return answers


def compared(config: FeedConfig, size: int) -> tuple[Rates, dict[str, str]]:
    """Ask every library round by round; return the medians, and why some have none."""
    processes: dict[str, Process] = {}
    measured: dict[str, list[dict[str, float]]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as running:
        file = Path(scratch) / "images.npy"
        num_images = max(BATCH_SIZE, config.megabytes * 2**20 // (2 * size * size))
        np.save(file, np.random.default_rng(0).integers(0, LEVELS, (num_images, 1, size, size), np.uint16))
        for name in dict.fromkeys((OURS.name, *config.subjects)):
            folder = Path(scratch) / name
            folder.mkdir()
            with excused(name, missing):
                process = running.enter_context(started(SUBJECTS[name], SCRIPT, name, str(file), str(folder)))
                require_all_images(process.ask({}), num_images)
                processes[name] = process
        for _ in range(config.rounds):
            for name in [each for each in processes if each not in missing]:
                with excused(name, missing):
                    measured.setdefault(name, []).append(counted(processes[name], config.seconds))
    medians = {
        name: {which: round(statistics.median(each[which] for each in measured[name])) for which in measured[name][0]}
        for name in processes
        if name not in missing
    }
    return medians, missing


@contextlib.contextmanager
def excused(name: str, missing: dict[str, str]) -> Iterator[None]:
    """Go on without a library that fails, unless it is ours."""
    try:
        yield
    except PeerError as error:
        if name == OURS.name:
            raise
        missing[name] = str(error)


def counted(process: Process, seconds: float) -> dict[str, float]:
    """Return the images a second of each form, by the clock and by the core."""
    rates: dict[str, float] = {}
    for form in FORMS:
        found = process.ask({"form": form, "seconds": seconds})
        for by in ("seconds", "cpu_seconds"):
            rates[f"{form}/{by}"] = float(str(found["images"])) / float(str(found[by]))
    return rates


def require_all_images(epoch: Mapping[str, object], num_images: int) -> None:
    """Refuse a library that leaves images out or changes them.

    Raises:
        PeerError: says what its first epoch held.
    """
    expected = {"batches": num_images // BATCH_SIZE, "mean": 0.0}  # of uniform noise over [-1, 1]
    if epoch["batches"] != expected["batches"] or abs(float(str(epoch["mean"]))) > 0.01:
        raise PeerError(f"an epoch of it is {epoch}, expected {expected}")


def table(rates: Rates, size: int) -> Table:
    """Return a row a library; ratios are by the core."""
    shown = Table(
        f"{size}x{size}, images a second", "floats", "a core", "ours/theirs", "integers", "a core", "ours/theirs"
    )
    for name, own in rates.items():
        cells = []
        for form in FORMS:
            ratio = rates[OURS.name][f"{form}/cpu_seconds"] / own[f"{form}/cpu_seconds"]
            cells += [f"{own[f'{form}/seconds']:,}", f"{own[f'{form}/cpu_seconds']:,}", f"{ratio:.1f}"]
        shown.add_row(name, *cells)
    return shown


if __name__ == "__main__":
    run(FeedConfig, main)
