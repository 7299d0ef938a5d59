"""From a source of images to a prepared dataset, decoded once and in parallel if Ray runs."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, get_origin

from rayology.atomic import atomic_folder, sole_use, write_atomic
from rayology.data.curation import check_classes, check_one_kind, curate
from rayology.data.cutting import cut_series
from rayology.data.dataset import PreparedDataset
from rayology.data.identity import kept_key
from rayology.data.inventory import by_series, common_folder, list_skipped, take_inventory
from rayology.data.journal import Journal
from rayology.data.preparation import PatchesConfig, PreparationConfig
from rayology.data.reading import read_items
from rayology.data.records import Outcome, Work
from rayology.data.report import report_file, write_report
from rayology.data.sources import Item, Source, SourceConfig
from rayology.data.workers import in_order, is_parallel
from rayology.data.writing import Contents, write_dataset
from rayology.errors import DataError, DatasetError, SourceLost
from rayology.progress import Progress

__all__ = ["PreparationConfig", "Progress", "prepare"]

FORMAT_VERSION = 5  # of what the same files and settings give: an earlier dataset is prepared again
PATHS = {"path", "table"}
"""Fields of sources that hold a path or its URI."""
IMAGES_A_TASK = 16
"""Number of images that one of Ray's workers reads at once, roughly; a larger item is read whole."""


def prepare(
    source: SourceConfig,
    preparation: PreparationConfig,
    root: Path,
    *,
    report: Callable[[Progress], None] = lambda _: None,
) -> PreparedDataset:
    """Return the dataset of a source, decoding it unless the same files and settings were prepared before.

    What was read before the process was killed or interrupted is not read again. The folder appears under
    ``root/datasets`` in one step when it is complete; the key of its pseudonyms and the names of skipped files stay
    outside it, under ``root/keys``.

    Raises:
        SourceError: the source holds no image, several modalities, or nothing that can be held out, or its classes
            look like patients.
        SourceLost: a file cannot be looked at, or the source can no longer be read.
        DatasetError: the dataset exists and is damaged, or the disk is full, which leaves nothing behind.
    """
    reader = source.build(root)
    items = reader.items()
    fingerprint = _fingerprint(source, preparation, items)
    folder, keys = root / "datasets" / fingerprint, root / "keys"
    with _workplace(folder) as workplace:
        if folder.exists():
            return _reused(folder)

        key_file = keys / f"{fingerprint}.key"
        key = kept_key(key_file if key_file.exists() else workplace / key_file.name)
        settings = _public(source)
        readings = Journal(workplace / "readings")
        outcomes = readings.resume(partial(_read, reader, items, preparation, key))
        inventory = take_inventory(_told(outcomes, "reading", len(items), report), labels=settings.get("labels"))
        scratch = readings.scratch
        if isinstance(preparation.cut, PatchesConfig):
            check_one_kind(inventory)
            series, cuts = by_series(inventory.images), Journal(workplace / "cuts")
            work = partial(cut_series, scratch=scratch, preparation=preparation, rules=preparation.cut)
            outcomes = cuts.resume(lambda start: in_order(work, series[start:]))
            inventory = inventory.cut(_told(outcomes, "cutting", len(series), report))
            scratch = cuts.scratch
        report(Progress("comparing", 0, len(inventory.images)))
        curation = curate(inventory, scratch, preparation)
        if settings.get("labels") in {"folder", "table"}:
            check_classes(curation.images)

        write_atomic(key_file, key)
        list_skipped(keys / f"{fingerprint}.skipped.json", items, curation.inventory.reasons)
        contents = Contents(fingerprint, curation, settings, preparation)
        with atomic_folder(folder) as built:
            num_images = len(curation.images)
            write_dataset(built, contents, scratch, lambda done: report(Progress("writing", done, num_images)))
        data = PreparedDataset.open(folder)
        write_report(data)
    return data


def _reused(folder: Path) -> PreparedDataset:
    """Return a dataset that exists, with its report; raise DatasetError if it is damaged."""
    data = PreparedDataset.open(folder)
    data.verify()
    if not report_file(data).exists():
        write_report(data)
    return replace(data, reused=True)


def _told(outcomes: Iterable[Outcome], stage: str, total: int, report: Callable[[Progress], None]) -> Iterator[Outcome]:
    """Pass outcomes on, and report each."""
    for done, outcome in enumerate(outcomes, 1):
        report(Progress(stage, done, total))
        yield outcome


def _read(
    reader: Source, items: Sequence[Item], preparation: PreparationConfig, key: bytes, start: int
) -> Iterable[Work]:
    """Read the items from a number on, in order."""
    tasks = _tasks(list(enumerate(items))[start:], IMAGES_A_TASK if is_parallel() else 1)
    return chain.from_iterable(in_order(partial(read_items, reader, preparation, key), tasks))


def _tasks(items: Iterable[tuple[int, Item]], most: int) -> Iterator[list[tuple[int, Item]]]:
    """Group numbered items into tasks of at least so many images."""
    together: list[tuple[int, Item]] = []
    num_images = 0
    for number, item in items:
        together.append((number, item))
        num_images += max(1, len(item.rows))
        if num_images >= most:
            yield together
            together, num_images = [], 0
    if together:
        yield together


def _fingerprint(source: SourceConfig, preparation: PreparationConfig, items: Sequence[Item]) -> str:
    """Hash what decides the dataset: both configs, and the names, sizes and times of the files."""
    folder = common_folder(items)
    files = [
        (os.path.relpath(file, folder), item.part, str(item.rows), item.label, *_state(file, followed=not item.reason))
        for item in items
        for file in (item.path, *item.beside)
    ]
    settings = source.model_dump(mode="json")
    for name in PATHS & settings.keys():
        if settings[name] and "://" not in settings[name]:
            settings[name] = str(Path(settings[name]).expanduser().absolute())
    decisive = [FORMAT_VERSION, settings, preparation.model_dump(mode="json"), files]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _state(file: Path, *, followed: bool = True) -> tuple[int, int]:
    try:
        status = file.stat(follow_symlinks=followed)
    except FileNotFoundError:  # a DICOMDIR may name missing files; reading reports each
        return -1, 0
    except OSError as error:  # its own message names the file, and so perhaps a patient
        raise SourceLost(
            f"a file of the source: {error.strerror}; see that each can be read, and start again"
        ) from None
    return status.st_size, status.st_mtime_ns


def _public(source: SourceConfig) -> dict[str, object]:
    """Return the settings that are numbers or one of a few words: any other text may name a patient."""
    return {
        name: getattr(source, name)
        for name, field in type(source).model_fields.items()
        if field.annotation in {bool, int, float} or get_origin(field.annotation) is Literal
    }


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Lend a folder next to the dataset's to one process at a time, with what a killed process left in it.

    It is deleted when the work is done, when the source makes no dataset and when the disk is full. It stays after all
    other errors, such as a source that may come back.
    """
    with sole_use(folder):
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
