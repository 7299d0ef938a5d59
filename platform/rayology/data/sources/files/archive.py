"""Archives of images, unpacked once into a folder; no name in one leads out of it."""

import gzip
import hashlib
import lzma
import re
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rayology.atomic import make_once
from rayology.data.sources.files.packed import ArchiveLimits, Member, Meter, tar_members, zip_members
from rayology.errors import SourceError

__all__ = ["is_archive", "safe_name", "unpacked"]

ZIP = ".zip"
SUFFIXES = (ZIP, ".tar", ".tar.gz", ".tgz", ".tar.xz")
MAX_DEPTH = 64
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, OverflowError, RecursionError, ValueError),
)
"""What the standard library raises where an archive is damaged."""


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is an archive which ``unpacked`` takes."""
    return name.lower().endswith(SUFFIXES)


def unpacked(archive: Path, root: Path, limits: ArchiveLimits) -> Path:
    """Return the folder below ``root/sources`` with the files of an archive, which is unpacked once.

    The folder appears in one step. Archives inside the archive are files like any other.

    Raises:
        SourceError: the archive is damaged or encrypted, passes a limit, holds links or devices, or names that lead out
            of it or clash; or the disk is full.
    """
    status = archive.stat()
    decisive = repr((str(archive), status.st_size, status.st_mtime_ns))
    folder = root / "sources" / f"archive-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"
    with _explained(archive, root):
        make_once(folder, lambda unfinished: _unpack(archive, unfinished, limits))
    return folder


def safe_name(name: str) -> Path:
    """Return the relative path that a member's name means, normalised.

    Raises:
        SourceError: the name is absolute, leads upwards, is too deep, or holds what is in no name.
    """
    normal = unicodedata.normalize("NFC", name.replace("\\", "/"))  # some programs for Windows write backslashes
    parts = normal.split("/")
    if re.match(r"/|[A-Za-z]:", normal) or ".." in parts or "\0" in normal or len(parts) > MAX_DEPTH:
        raise SourceError("has a name that is absolute, leads upwards or is too deep; pack the files anew")
    return Path(*parts)


def _unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    members = zip_members if archive.name.lower().endswith(ZIP) else tar_members
    with archive.open("rb") as packed:
        for number, member in enumerate(members(packed, Meter(packed, limits)), 1):
            try:
                opened = _opened(folder, member)
            except SourceError as error:
                raise SourceError(f"member {number} {error}") from None  # its name may name a patient
            if opened:
                with opened:
                    opened.writelines(member.chunks)


def _opened(folder: Path, member: Member) -> BinaryIO | None:
    """Open the file that a member becomes; there is none for a folder, which its files bring along."""
    place = folder / safe_name(member.name)
    if member.kind == "other":
        raise SourceError("is a link, a device or a sparse file; pack plain files")
    if member.kind == "folder":
        return None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return place.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise SourceError("has the name of an earlier one once both are normalised; rename it") from None


@contextmanager
def _explained(archive: Path, root: Path) -> Iterator[None]:
    """Turn what can go wrong into our own error, and say where."""
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{archive}: {error}") from None
    except DAMAGE as error:
        raise SourceError(f"{archive}: is damaged or no archive ({type(error).__name__}); copy it again") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"{archive}: cannot be unpacked below {root} ({reason}); free space or set storage") from None
