"""From a source of images to a prepared dataset, decoded once and in parallel where Ray runs."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal, get_origin

import ray

from rayology.data import SourceConfig
from rayology.data.census import check_classes, choose, common_folder, gather
from rayology.data.dataset import PreparedDataset
from rayology.data.identity import kept_key
from rayology.data.journal import Journal
from rayology.data.preparation import PreparationConfig, Reading, read_item
from rayology.data.report import report_file, write_report
from rayology.data.scratch import Scratch
from rayology.data.skipped import list_skipped
from rayology.data.source import Item, Source
from rayology.data.writing import Contents, write_dataset
from rayology.errors import DatasetError

__all__ = ["PreparationConfig", "Progress", "prepare"]

FORMAT_VERSION = 3
PATHS = {"path", "table"}
"""The fields of sources that hold a path, or the URI of one."""
IMAGES_A_TASK = 16
"""About how many images are read at once; a larger part of a file is read whole."""


@dataclass(frozen=True)
class Progress:
    """How far a preparation is."""

    stage: Literal["reading", "writing"]
    done: int
    total: int
    """Files, or parts of files, while reading; images while writing."""


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
            data = PreparedDataset.open(folder)
            data.verify()
            if not report_file(data).exists():
                write_report(data)
            return replace(data, reused=True)

        key = kept_key(root / "keys" / f"{fingerprint}.key")
        scratch = Scratch(workplace, (preparation.size, preparation.size))
        journal = Journal(workplace, scratch)
        before = journal.replay()
        readings = map(journal.keep, _readings(reader, items[len(before) :], preparation, key))
        settings = _public(source)
        census = gather(
            items,
            chain(before, readings),
            lambda done: report(Progress("reading", done, len(items))),
            labels=settings.get("labels"),
        )
        chosen = choose(census, scratch, preparation)
        if settings.get("labels") == "folder":
            check_classes(chosen)
        list_skipped(root / "keys" / f"{fingerprint}.skipped.json", items, census)
        contents = Contents(fingerprint, census, chosen, settings, preparation)
        built = workplace / "dataset"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        write_dataset(built, contents, scratch, lambda done: report(Progress("writing", done, len(chosen))))
        _publish(built, folder)
        data = PreparedDataset.open(folder)
        write_report(data)
    return data


def _readings(source: Source, items: Sequence[Item], preparation: PreparationConfig, key: bytes) -> Iterator[Reading]:
    """Read every item in order, on Ray's workers where it runs, a bounded number of them ahead."""
    if not ray.is_initialized():
        yield from (read_item(source, item, preparation, key) for item in items)
        return
    task, shared = ray.remote(_read_items), ray.put(source)
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending = deque[object]()
    for together in _tasks(items):
        pending.append(task.remote(shared, together, preparation, key))
        if len(pending) > ahead:
            yield from ray.get(pending.popleft())
    while pending:
        yield from ray.get(pending.popleft())


def _tasks(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Cut items into runs of so many images."""
    together: list[Item] = []
    num_images = 0
    for item in items:
        together.append(item)
        num_images += max(1, len(item.rows))
        if num_images >= IMAGES_A_TASK:
            yield together
            together, num_images = [], 0
    if together:
        yield together


def _read_items(source: Source, items: Sequence[Item], preparation: PreparationConfig, key: bytes) -> list[Reading]:
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

    It goes when the work is done or fails, and stays when the process is interrupted.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workplace = folder.with_name(f".{folder.name}.partial")
        workplace.mkdir(mode=0o700, exist_ok=True)
        try:
            yield workplace
        except Exception as error:
            shutil.rmtree(workplace)
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise DatasetError(
                    f"{folder.parent}: no space is left for the dataset; free some, or set storage to another disk"
                ) from None
            raise
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
