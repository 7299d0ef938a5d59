"""Find the files of a source on this disk: as they are, unpacked, or fetched from an object store."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from rayology.data.sources.files.archive import ArchiveLimits, is_archive, unpacked
from rayology.data.sources.files.objects import fetch_objects
from rayology.errors import SourceError
from rayology.uri import Place, located

__all__ = ["files_below", "local_folder", "on_disk"]

DICOMDIR = "DICOMDIR"  # DICOM PS3.10 8.6


def on_disk(path: str, root: Path) -> Path:
    """Return a path, fetched below a root if it is a remote URI; raise SourceError if that fails."""
    try:
        place = located(path)
    except (ValueError, NotImplementedError, OSError) as error:
        raise SourceError(f"source.path names no place: {error}; write a folder, or a URI of file, s3 or gs") from None
    if not place.is_remote:
        return Path(place.path)
    copy = root / "sources" / f"objects-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    above, _, name = place.path.rpartition("/")
    if name.upper() == DICOMDIR:  # its files lie next to it
        place = Place(place.files, above)
    fetch_objects(place, copy)
    return copy / name if name.upper() == DICOMDIR or is_archive(name) else copy


def local_folder(path: str, root: Path, limits: ArchiveLimits) -> Path:
    """Return the folder that a path names, or into which the archive that it names was unpacked below a root.

    Raises:
        SourceError: it is missing, is neither, or cannot be fetched or unpacked.
    """
    found = on_disk(path, root)
    if found.is_dir():
        return found
    if found.is_file() and is_archive(found.name):
        return unpacked(found, root, limits)
    raise SourceError(f"{found}: no such folder; set source.path to a folder, or to a zip or tar file of one")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, without following links out of it."""
    root = folder.resolve()
    for parent, _, names in os.walk(folder, followlinks=False):
        for name in names:
            file = Path(parent, name)
            # A pipe or a device is not a file, and reading one may never end.
            if file.is_file() and file.resolve().is_relative_to(root):
                yield file
