"""Archives of images, unpacked once into a folder within a budget; no name in one leads out of it."""

import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import struct
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import PositiveInt

from rayology.atomic import make_once
from rayology.config import Config
from rayology.data.unreadable import as_source_error
from rayology.errors import SourceError

__all__ = ["ArchiveLimits", "is_archive", "safe_name", "unpacked"]

ZIPS = (".zip", ".npz")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")
CHUNK = 2**16
GRACE = 2**26
"""Bytes before the ratio counts: a few blank images compress better than any limit."""
MAX_DEPTH = 64
MAX_HEADER = 2**16
"""Bytes of all headers of one member of a tar file."""
MAX_DIRECTORY = 2**26
"""Bytes of the directory of a zip file."""
MAX_DECODER = 2**28
"""Bytes of memory that unpacking xz may take; its strongest preset takes 65 MiB."""
ENTRY = b"PK\x01\x02"  # APPNOTE 4.3.12: each entry of a zip file's directory starts so
GZIP, XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"  # RFC 1952 2.3.1; The .xz File Format 2.1.1.1
ENCRYPTED = 0x1  # APPNOTE 4.4.4
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, NotImplementedError, OverflowError, RecursionError, ValueError),
)
"""Errors of the standard library about a damaged archive."""
NOT_PLAIN = "is a link, a device or a sparse file; pack plain files"
CLASH = (FileExistsError, NotADirectoryError, IsADirectoryError)


class ArchiveLimits(Config):
    """Limits on what an archive may unpack to; one that exceeds them is refused, and nothing of it stays."""

    max_files: PositiveInt = 200_000
    """Most members, including folders."""
    max_bytes: PositiveInt = 2**38
    """Most bytes of all members together."""
    max_ratio: PositiveInt = 100
    """Most bytes that a packed byte may unpack to, beyond the first 64 MiB."""


def is_archive(name: str) -> bool:
    """Return whether a file's name says that it is an archive of files."""
    return name.lower().endswith(SUFFIXES)


def unpacked(archive: Path, root: Path, limits: ArchiveLimits) -> Path:
    """Unpack an archive, npz or gz file once, in one step, and return its folder below ``root/sources``.

    Archives inside the archive stay packed.

    Raises:
        SourceError: the archive is damaged or encrypted, exceeds a limit, holds links, devices, or names that clash or
            lead out of it; or the disk is full.
    """
    status = archive.stat()
    decisive = repr((str(archive), status.st_size, status.st_mtime_ns))
    folder = root / "sources" / f"archive-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"

    def unpack(unfinished: Path) -> None:
        with _Packed(archive, limits) as packed:
            _unpack(packed, unfinished, status.st_mtime_ns)

    with (
        as_source_error(archive, f"cannot be unpacked below {root}", "free space or set storage", OSError),
        as_source_error(archive, "is damaged, cut short or not an archive", "copy it again", *DAMAGE),
    ):
        make_once(folder, unpack)
    return folder


def safe_name(name: str) -> Path:
    """Return the relative path that a member's name means, normalised.

    Raises:
        SourceError: the name is absolute, leads upwards, is too deep, or holds what is in no name.
    """
    normal = unicodedata.normalize("NFC", name.replace("\\", "/"))  # some programs for Windows write backslashes
    parts = normal.split("/")
    if re.match(r"/|[A-Za-z]:", normal) or ".." in parts or "\0" in normal or len(parts) > MAX_DEPTH:
        raise SourceError("a name is absolute, leads upwards or is too deep; pack the files again")
    return Path(*parts)


class _Packed(io.BufferedReader):
    """An archive that is held to its limits, whatever its headers say."""

    def __init__(self, archive: Path, limits: ArchiveLimits) -> None:
        super().__init__(io.FileIO(archive))
        self.archive = archive
        self._limits = limits
        self.num_members = 0
        self._num_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; only the directory of a zip file, of whose entries zipfile makes objects, can be so large at once."""
        if size and size > MAX_DIRECTORY:
            raise SourceError(f"has a directory of more than {MAX_DIRECTORY} bytes; split it")
        chunk = super().read(size)
        if len(chunk) > 2 * CHUNK:
            self._check_members(chunk.count(ENTRY))
        return chunk

    def count_member(self) -> None:
        """Refuse one member too many."""
        self.num_members += 1
        self._check_members(self.num_members)

    def count_bytes(self, number: int) -> None:
        """Refuse more bytes than the limit, or than the packed bytes that were read so far may unpack to."""
        self._num_bytes += number
        if self._num_bytes > self._limits.max_bytes:
            raise SourceError(f"unpacks to more than {self._limits.max_bytes} bytes; raise source.limits.max_bytes")
        if self._num_bytes > GRACE + self._limits.max_ratio * self.tell():
            raise SourceError(
                f"unpacks to more than {self._limits.max_ratio} times its size, as only a bomb or blank images do; if "
                "you trust it, pack it without compression or raise source.limits.max_ratio"
            )

    def _check_members(self, number: int) -> None:
        if number > self._limits.max_files:
            raise SourceError(
                f"holds more than {self._limits.max_files} files; raise source.limits.max_files or split it"
            )


def _unpack(packed: _Packed, folder: Path, changed_at_ns: int) -> None:
    """Write all files with the archive's time, so that files unpacked again count as the same."""
    for name, chunks in _files(packed):
        member = f"member {packed.num_members}"  # its name may name a patient
        with as_source_error(member, "has the name of an earlier one once both are normalised", "rename it", *CLASH):
            place = folder / safe_name(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            opened = place.open("xb")
        with opened:
            opened.writelines(chunks)
        os.utime(place, ns=(changed_at_ns, changed_at_ns))


def _files(packed: _Packed) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name of each file with its content, which must be read before the next."""
    name = packed.archive.name.lower()
    if name.endswith(ZIPS):
        yield from _zip_files(packed)
    elif name.endswith(SUFFIXES):
        yield from _tar_files(packed)
    else:
        yield packed.archive.stem, _chunks(gzip.GzipFile(fileobj=packed), packed)


def _zip_files(packed: _Packed) -> Iterator[tuple[str, Iterator[bytes]]]:
    with zipfile.ZipFile(packed) as opened:
        for info in opened.infolist():
            packed.count_member()
            if info.flag_bits & ENCRYPTED:
                raise SourceError(
                    "is encrypted; pack it without a password, or set source.path to a folder of its files"
                )
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # others may take any memory
                raise SourceError(f"is packed by method {info.compress_type}; pack it by deflate, or as .tar.xz")
            if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise SourceError(f"member {packed.num_members} {NOT_PLAIN}")
            if not info.is_dir():
                with opened.open(info) as content:
                    yield info.filename, _chunks(content, packed)


def _chunks(content: IO[bytes] | gzip.GzipFile, packed: _Packed) -> Iterator[bytes]:
    while chunk := content.read(CHUNK):
        packed.count_bytes(len(chunk))
        yield chunk


def _tar_files(packed: _Packed) -> Iterator[tuple[str, Iterator[bytes]]]:
    stream = _Forward(packed)
    with tarfile.open(fileobj=stream, mode="r:") as opened:
        while (info := opened.next()) is not None:
            opened.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
            opened.pax_headers = {}  # both would grow with the archive
            packed.count_member()
            if not (info.isdir() or info.isreg()) or info.issparse():
                raise SourceError(f"member {packed.num_members} {NOT_PLAIN}")
            if info.isreg():
                yield info.name, stream.content(info.size)
            stream.allowance = MAX_HEADER
    # Only a block of zeros ends the file, but tarfile also stops at a damaged header.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise EOFError
    stream.allowance = sys.maxsize
    while stream.read(CHUNK):  # the checksum of a packed file stands at its end
        pass


class _Forward(io.RawIOBase):
    """A tar file that is only read forwards, and whose headers, which tarfile keeps in memory, are short."""

    def __init__(self, packed: _Packed) -> None:
        self.allowance = MAX_HEADER
        self.last = b""
        self._packed = packed
        self._position = 0
        self._stream: io.BufferedIOBase = packed
        start = packed.peek()
        if start.startswith(GZIP):
            self._stream = gzip.GzipFile(fileobj=packed)
        elif start.startswith(XZ):
            self._stream = io.BufferedReader(_Xz(packed))

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            raise ValueError  # a header points backwards
        if size > self.allowance:
            raise SourceError(f"has a header of more than {MAX_HEADER} bytes; pack the files again")
        self.last = self._stream.read(size)
        self.allowance -= len(self.last)
        self._position += len(self.last)
        self._packed.count_bytes(len(self.last))
        return self.last

    def tell(self) -> int:
        return self._position

    def content(self, size: int) -> Iterator[bytes]:
        """Read the content of a member and the padding of its last block."""
        self.allowance = size + -size % tarfile.BLOCKSIZE
        while chunk := self.read(min(CHUNK, size)):
            size -= len(chunk)
            yield chunk
        if size:
            raise EOFError
        self.read(self.allowance)


class _Xz(io.RawIOBase):
    """The content of an xz file, each of whose streams is unpacked in limited memory, which LZMAFile does not offer."""

    def __init__(self, packed: _Packed) -> None:
        self._packed = packed
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_DECODER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # BufferedReader passes nothing else
        content = b""
        while not content:
            if self._decoder.eof and not self._starts_next_stream():
                return 0
            chunk = self._packed.read(CHUNK) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not chunk:
                raise EOFError
            content = self._decoder.decompress(chunk, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _starts_next_stream(self) -> bool:
        """Skip the zeros that may follow a stream, and return whether another one follows them."""
        rest = self._decoder.unused_data.lstrip(b"\0")  # The .xz File Format 2.2
        while not rest and (chunk := self._packed.read(CHUNK)):
            rest = chunk.lstrip(b"\0")
        if rest:
            self._packed.seek(-len(rest), os.SEEK_CUR)
            self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_DECODER)
        return bool(rest)
