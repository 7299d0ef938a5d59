"""Copy the objects of a store once into a folder."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pyarrow import fs

from rayology.atomic import atomic_file, sole_use
from rayology.data.sources.files.archive import safe_name
from rayology.data.unreadable import as_source_error
from rayology.errors import SourceError
from rayology.uri import Place

__all__ = ["fetch_objects"]

CHUNK = 2**20
CONNECTIONS = 8


def fetch_objects(place: Place, folder: Path) -> None:
    """Make a folder mirror the object at a place, or all objects below it.

    Unchanged objects are not fetched again, and those that the store no longer holds are deleted.

    Raises:
        SourceError: the store holds nothing there or cannot be reached, an object has a name that leads out of the
            folder, or the disk is full.
    """
    with as_source_error(place.path, "cannot be fetched", "run it again to fetch the rest", OSError):
        wanted = _by_file(folder, _listed(place))
        with sole_use(folder), ThreadPoolExecutor(CONNECTIONS) as pool:
            folder.mkdir(mode=0o700, exist_ok=True)
            for other in {file for file in folder.rglob("*") if file.is_file()} - wanted.keys():
                other.unlink()
            list(pool.map(partial(_fetch, place.files), wanted.values(), wanted))


def _listed(place: Place) -> dict[str, fs.FileInfo]:
    """Return the objects by their names below the place."""
    try:
        (there,) = place.files.get_file_info([place.path])
        if there.type == fs.FileType.File:
            return {there.base_name: there}
        found = place.files.get_file_info(fs.FileSelector(place.path, recursive=True))
    except OSError as error:
        raise SourceError(f"{place.path}: cannot be listed ({error}); check source.path and the rights") from None
    start = place.path.rstrip("/") + "/"
    return {each.path.removeprefix(start): each for each in found if each.type == fs.FileType.File}


def _by_file(folder: Path, listed: dict[str, fs.FileInfo]) -> dict[Path, fs.FileInfo]:
    by_file = {folder / safe_name(name): found for name, found in listed.items()}
    if len(by_file) < len(listed):
        raise SourceError("two objects have one name once both are normalised; rename one")
    return by_file


def _fetch(files: fs.FileSystem, found: fs.FileInfo, file: Path) -> None:
    """Copy an object with its time, by which a later call recognises it."""
    time_ns = found.mtime_ns or 0
    if file.is_file() and (file.stat().st_size, file.stat().st_mtime_ns) == (found.size, time_ns):
        return
    with files.open_input_stream(found.path) as stream, atomic_file(file) as opened:
        while chunk := stream.read(CHUNK):
            opened.write(chunk)
        opened.flush()
        os.utime(opened.fileno(), ns=(time_ns, time_ns))
