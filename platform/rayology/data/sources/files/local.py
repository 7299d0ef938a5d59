"""Find the files of a source on this disk: as they are, unpacked, or fetched from an object store."""

import hashlib
import os
from pathlib import Path

from rayology.data.sources.files.archive import ArchiveLimits, is_archive, unpacked
from rayology.data.sources.files.objects import fetch_objects
from rayology.errors import SourceError
from rayology.uri import Place, located

__all__ = ["files_below", "local_folder", "on_disk"]

DICOMDIR = "DICOMDIR"  # DICOM PS3.10 8.6
REPOSITORIES = {".dvc", ".git"}  # what they hold is read by the names of the links that lead there
COPY = "copy the folder with its links followed (cp -rL)"
OUTSIDE = f"NotAnImage: is a link out of the folder, which is not followed; {COPY}, or name a folder that holds both"
TO_FOLDER = f"NotAnImage: is a link to a folder, which is not followed; {COPY}, or name the folder that it leads to"
BROKEN = "NotAnImage: is a link to no file that can be read; bring the file back, as git annex get and dvc pull do"


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


def files_below(folder: Path) -> dict[Path, str]:
    """Return all files below a folder in order, each with the reason why it is not read; empty for all but links."""
    root = folder.resolve()
    found: dict[Path, str] = {}
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if name not in REPOSITORIES]
        for name in (*folders, *names):
            file = Path(parent, name)
            if file.is_symlink():
                found[file] = _unfollowed(file, root)
            elif file.is_file():  # a pipe or a device is not, and reading one may never end
                found[file] = ""
    return dict(sorted(found.items()))


def _unfollowed(link: Path, root: Path) -> str:
    """Return why a link is not followed; an empty string if it leads to a file below the root."""
    if os.path.isdir(link):  # noqa: PTH112  # Path's own raises if a folder above cannot be entered
        return TO_FOLDER
    if not os.path.isfile(link):  # noqa: PTH113  # the same
        return BROKEN
    return "" if link.resolve().is_relative_to(root) else OUTSIDE
