"""From a source of images to a prepared dataset, decoded once and in parallel where Ray runs."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar, get_origin

import ray
from ray.exceptions import RayTaskError

from rayology.data.census import Census, Found, common_folder, gather
from rayology.data.choosing import check_classes, choose, require_one_kind
from rayology.data.cutting import Cut, CutVolume, cut_series, series_of
from rayology.data.dataset import PreparedDataset
from rayology.data.identity import kept_key
from rayology.data.journal import Journal, Kept, KeptCut
from rayology.data.preparation import ImageFacts, PatchesConfig, PreparationConfig, Reading, read_item
from rayology.data.report import report_file, write_report
from rayology.data.skipped import list_skipped
from rayology.data.sources import Item, Source, SourceConfig
from rayology.data.writing import Contents, write_dataset
from rayology.errors import DataError, DatasetError, SourceLost

__all__ = ["PreparationConfig", "Progress", "prepare"]

T = TypeVar("T")
R = TypeVar("R")
FORMAT_VERSION = 4
PATHS = {"path", "table"}
"""The fields of sources that hold a path, or the URI of one."""
IMAGES_A_TASK = 16
"""About how many images a worker of Ray reads at once; a larger part of a file is read whole."""


@dataclass(frozen=True)
class Progress:
    """How far a preparation is."""

    stage: Literal["reading", "cutting", "writing"]
    done: int
    total: int
    """Files, or parts of files, while reading; series while cutting; images while writing."""


def _ignore(progress: Progress) -> None:
    del progress


def prepare(
    source: SourceConfig,
    preparation: PreparationConfig,
    root: Path,
    *,
    report: Callable[[Progress], None] = _ignore,
) -> PreparedDataset:
    """Return the dataset of a source, decoding it unless the same files and settings were prepared before.

    What was read before the process was killed or interrupted is not read again.

    The folder appears under ``root/datasets`` in one step when it is complete; the key of its pseudonyms
    and the names of skipped files stay outside it, under ``root/keys``.

    Raises:
        SourceError: the source holds no image, several modalities, or nothing that can be held out, or its classes
            look like patients.
        DatasetError: the dataset is there and damaged, or the disk is full, which leaves nothing behind.
    """
    reader = source.build(root)
    items = reader.items()
    fingerprint = _fingerprint(source, preparation, items)
    folder = root / "datasets" / fingerprint
    with _workplace(folder) as workplace:
        if folder.exists():
            return _reused(folder)

        key = kept_key(root / "keys" / f"{fingerprint}.key")
        settings = _public(source)
        readings = Journal(workplace / "readings", Kept)
        read = _read(reader, items, preparation, key, readings)
        census = gather(
            items, read, lambda done: report(Progress("reading", done, len(items))), labels=settings.get("labels")
        )
        scratch = readings.scratch
        if isinstance(preparation.cut, PatchesConfig):
            require_one_kind(census)
            cuts = Journal(workplace / "cuts", KeptCut)
            rules, side = preparation.cut, preparation.size
            work = partial(cut_series, scratch=scratch, rules=rules, side=side, fill=preparation.fill)
            _cut(census, items, work, cuts, report)
            scratch = cuts.scratch
        chosen = choose(census, scratch, preparation)
        if settings.get("labels") in {"folder", "table"}:
            check_classes(chosen)
        list_skipped(root / "keys" / f"{fingerprint}.skipped.json", items, census)
        contents = Contents(fingerprint, census, chosen, settings, preparation)
        built = workplace / "dataset"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir(mode=0o700)  # it shows patients, though it names none
        write_dataset(built, contents, scratch, lambda done: report(Progress("writing", done, len(chosen))))
        _publish(built, folder)
        data = PreparedDataset.open(folder)
        write_report(data)
    return data


def _reused(folder: Path) -> PreparedDataset:
    """Return a dataset that is there already, with its report.

    Raises:
        DatasetError: it is damaged.
    """
    data = PreparedDataset.open(folder)
    data.verify()
    if not report_file(data).exists():
        write_report(data)
    return replace(data, reused=True)


def _read(
    reader: Source, items: Sequence[Item], preparation: PreparationConfig, key: bytes, readings: Journal[Kept]
) -> Iterator[Kept]:
    """Read every item in order, and none that the journal holds."""
    before = readings.replay()
    yield from before
    tasks = _tasks(items[len(before) :], IMAGES_A_TASK if ray.is_initialized() else 1)
    read = partial(_read_items, reader, preparation, key)
    for reading in chain.from_iterable(_in_turn(read, tasks)):
        rows = readings.put(reading.images)
        facts = tuple(each.facts for each in reading.images)
        yield readings.write(Kept(facts, rows, reading.reason, reading.modality))


def _cut(
    census: Census,
    items: Sequence[Item],
    work: Callable[[list[Found]], Cut],
    cuts: Journal[KeptCut],
    report: Callable[[Progress], None],
) -> None:
    """Let patches stand in a census for the slices of its series, and cut none that the journal holds."""
    series = series_of(census)
    before = cuts.replay()
    census.found = []
    places = {item: place for place, item in enumerate(items)}
    cut = _in_turn(work, series[len(before) :])
    for done, kept in enumerate(chain(before, (cuts.write(_kept(each, places, cuts)) for each in cut)), 1):
        census.found += [
            Found(items[place], facts, row)
            for place, facts, row in zip(kept.items, kept.images, kept.rows, strict=True)
        ]
        census.reasons.update((items[place], reason) for place, reason in kept.reasons)
        census.mended.update(kept.mended)
        report(Progress("cutting", done, len(series)))


def _kept(cut: Cut, places: Mapping[Item, int], cuts: Journal[KeptCut]) -> KeptCut:
    return KeptCut(
        images=tuple(facts for volume in cut.volumes for facts in _with_thumbnail(volume, cuts)),
        rows=tuple(row for volume in cut.volumes for row in cuts.put(volume.patches)),
        items=tuple(places[volume.item] for volume in cut.volumes for _ in volume.patches),
        reasons=tuple((places[item], reason) for item, reason in cut.reasons),
        mended=cut.mended,
    )


def _with_thumbnail(volume: CutVolume, cuts: Journal[KeptCut]) -> list[ImageFacts]:
    """Put the thumbnail of a volume on disk, and name its row in the facts of the volume's patches."""
    row = cuts.scratch.append(volume.thumbnail, None)
    return [replace(patch.facts, thumbnail=row) for patch in volume.patches]


def _in_turn(work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """Do tasks in order, on Ray's workers where it runs, a bounded number of them ahead."""
    if not ray.is_initialized():
        yield from map(work, tasks)
        return
    remote, shared = ray.remote(_do), ray.put(work)
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending = deque[object]()
    with _raised_as_there():
        for task in tasks:
            pending.append(remote.remote(shared, task))
            if len(pending) > ahead:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())


@contextmanager
def _raised_as_there() -> Iterator[None]:
    """Raise an error of our own as the worker raised it, without Ray's account of where."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise


def _do(work: Callable[[T], R], task: T) -> R:
    return work(task)


def _tasks(items: Sequence[Item], most: int) -> Iterator[list[Item]]:
    """Cut items into runs of so many images."""
    together: list[Item] = []
    num_images = 0
    for item in items:
        together.append(item)
        num_images += max(1, len(item.rows))
        if num_images >= most:
            yield together
            together, num_images = [], 0
    if together:
        yield together


def _read_items(source: Source, preparation: PreparationConfig, key: bytes, items: Sequence[Item]) -> list[Reading]:
    return [read_item(source, item, preparation, key) for item in items]


def _fingerprint(source: SourceConfig, preparation: PreparationConfig, items: Sequence[Item]) -> str:
    """Hash what decides the dataset: both configs, and the names, sizes and times of the files."""
    folder = common_folder(items)
    states = {file: _state(file) for item in items for file in (item.path, *item.beside)}
    files = [
        (os.path.relpath(file, folder), item.part, str(item.rows), item.label, *states[file])
        for item in items
        for file in (item.path, *item.beside)
    ]
    settings = source.model_dump(mode="json")
    for name in PATHS & settings.keys():
        if settings[name] and "://" not in settings[name]:
            settings[name] = str(Path(settings[name]).expanduser().absolute())
    decisive = [FORMAT_VERSION, settings, preparation.model_dump(mode="json"), files]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _state(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:  # a DICOMDIR may name what is not there, which reading it counts
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _public(source: SourceConfig) -> dict[str, object]:
    """Return the settings that are numbers or one of a few words; any other text may name a patient."""
    return {
        name: getattr(source, name)
        for name, field in type(source).model_fields.items()
        if field.annotation in {bool, int, float} or get_origin(field.annotation) is Literal
    }


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Give a folder beside the dataset's to one process at a time; what a killed one left in it is still there.

    It goes when the work is done, when the source makes no dataset or the disk is full, and stays on all else, such as
    a source that may come back.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workplace = folder.with_name(f".{folder.name}.partial")
        workplace.mkdir(mode=0o700, exist_ok=True)
        try:
            yield workplace
        except SourceLost:
            raise
        except DataError:
            shutil.rmtree(workplace)
            raise
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            shutil.rmtree(workplace)
            raise DatasetError(
                f"{folder.parent}: no space is left for the dataset; free some, or set storage to another disk"
            ) from None
        shutil.rmtree(workplace)


def _publish(built: Path, folder: Path) -> None:
    """Move a complete folder to its name in one step that survives a power cut."""
    _sync(built)
    built.rename(folder)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
