"""The members of a zip or tar file, read forwards in bounded memory; what its headers claim is never believed."""

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from pydantic import PositiveInt

from rayology.config import Config
from rayology.errors import SourceError

__all__ = ["ArchiveLimits", "Member", "Meter", "tar_members", "zip_members"]

CHUNK = 2**20
GRACE = 2**26
"""So many bytes may come before the ratio counts: a few blank images pack better than any limit."""
MAX_HEADER = 2**16
"""Bytes of all headers of one member of a tar file."""
MAX_DIRECTORY = 2**26
"""Bytes of the directory of a zip file."""
MAX_DECODER = 2**28
"""Bytes of memory that unpacking xz may take; its strongest preset takes 65 MiB."""
ENTRY = b"PK\x01\x02"  # APPNOTE 4.3.12: each entry of a zip file's directory starts so
GZIP, XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"  # RFC 1952 2.3.1; The .xz File Format 2.1.1.1
PLAIN_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 0x1  # APPNOTE 4.4.4


class ArchiveLimits(Config):
    """What an archive may become; one that becomes more is refused while it is unpacked, and nothing of it stays."""

    max_files: PositiveInt = 200_000
    """Members, folders among them."""
    max_bytes: PositiveInt = 2**38
    """Bytes of all members together."""
    max_ratio: PositiveInt = 100
    """Bytes that one packed byte may become, beyond the first 64 MiB."""


@dataclass(frozen=True)
class Member:
    """What an archive holds under one name."""

    name: str
    kind: Literal["file", "folder", "other"]
    chunks: Iterator[bytes]
    """The content; read it before the next member."""


class Meter:
    """Count what an archive becomes, and refuse it beyond the limits."""

    def __init__(self, packed: BinaryIO, limits: ArchiveLimits) -> None:
        self.limits = limits
        self._packed = packed
        self._num_members = 0
        self._num_bytes = 0

    def count_member(self) -> None:
        """Refuse one member too many."""
        self._num_members += 1
        if self._num_members > self.limits.max_files:
            raise SourceError(
                f"holds more than {self.limits.max_files} files; raise source.limits.max_files or split it"
            )

    def count_bytes(self, number: int) -> None:
        """Refuse a byte too many, or too many for the packed bytes that were read so far."""
        self._num_bytes += number
        if self._num_bytes > self.limits.max_bytes:
            raise SourceError(f"becomes more than {self.limits.max_bytes} bytes; raise source.limits.max_bytes")
        if self._num_bytes > GRACE + self.limits.max_ratio * self._packed.tell():
            raise SourceError(
                f"becomes more than {self.limits.max_ratio} times its size, as only a bomb or blank images do;"
                " raise source.limits.max_ratio where you trust it"
            )


def zip_members(packed: BinaryIO, meter: Meter) -> Iterator[Member]:
    """Give every member of a zip file.

    Raises:
        SourceError: a limit is passed, or a member is encrypted or packed by another method than deflate.
    """
    directory = _Directory(packed, meter.limits.max_files)
    with zipfile.ZipFile(directory) as opened:
        directory.is_read = True
        for info in opened.infolist():
            meter.count_member()
            if info.flag_bits & ENCRYPTED:
                raise SourceError("is encrypted; unpack it yourself and set source.path to the folder")
            if info.compress_type not in PLAIN_METHODS:
                raise SourceError(f"is packed by method {info.compress_type}; pack it by deflate, or as .tar.xz")
            yield Member(info.filename, _kind(info), _unzipped(opened, info, meter))


def tar_members(packed: BinaryIO, meter: Meter) -> Iterator[Member]:
    """Give every member of a tar file, which may be packed by gzip or xz.

    Raises:
        SourceError: a limit is passed, or the end of the file is missing.
    """
    stream = _Forward(_unpacked(packed), meter)
    with tarfile.open(fileobj=stream, mode="r:") as opened:
        while (info := opened.next()) is not None:
            opened.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
            opened.pax_headers = {}  # both would grow with the archive
            meter.count_member()
            plain = info.isreg() and not info.issparse()
            stream.allowance = None
            yield Member(info.name, "folder" if info.isdir() else "file" if plain else "other", _chunks(opened, info))
            stream.allowance = MAX_HEADER
        # Only a block of zeros ends the file; tarfile takes a damaged header for the end as well.
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise SourceError("is truncated or damaged; copy it again")
        stream.allowance = None
        while stream.read(CHUNK):  # the checksum of a packed file stands at its end
            pass


def _kind(info: zipfile.ZipInfo) -> Literal["file", "folder", "other"]:
    if info.is_dir():
        return "folder"
    return "file" if stat.S_IFMT(info.external_attr >> 16) in {0, stat.S_IFREG} else "other"


def _unzipped(opened: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    with opened.open(info) as content:
        while chunk := content.read(CHUNK):
            meter.count_bytes(len(chunk))
            yield chunk


def _chunks(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    content = opened.extractfile(info)
    while content and (chunk := content.read(CHUNK)):
        yield chunk


def _unpacked(packed: BinaryIO) -> io.IOBase | BinaryIO:
    start = packed.read(len(XZ))
    packed.seek(0)
    if start.startswith(GZIP):
        return gzip.GzipFile(fileobj=packed)
    return io.BufferedReader(_Xz(packed)) if start == XZ else packed


class _Directory(io.RawIOBase):
    """Count the entries of a zip file's directory before zipfile makes objects of them."""

    def __init__(self, packed: BinaryIO, max_files: int) -> None:
        self.is_read = False
        self._packed = packed
        self._max_files = max_files

    def read(self, size: int = -1, /) -> bytes:
        if not self.is_read and size > MAX_DIRECTORY:
            raise SourceError(f"has a directory of more than {MAX_DIRECTORY} bytes; split it")
        chunk = self._packed.read(size)
        if not self.is_read and chunk.count(ENTRY) > self._max_files:
            raise SourceError(f"holds more than {self._max_files} files; raise source.limits.max_files or split it")
        return chunk

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        return self._packed.seek(position, whence)

    def tell(self) -> int:
        return self._packed.tell()

    def seekable(self) -> bool:
        return True


class _Forward(io.RawIOBase):
    """Count what tarfile reads, and bound what it may read of headers, which it keeps in memory."""

    def __init__(self, stream: io.IOBase | BinaryIO, meter: Meter) -> None:
        self.allowance: int | None = MAX_HEADER
        self.last = b""
        self._stream = stream
        self._meter = meter
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        if self.allowance is not None:
            self.allowance -= size
            if self.allowance < 0:
                raise SourceError(f"has a header of more than {MAX_HEADER} bytes; pack the files anew")
        self.last = self._stream.read(size)
        self._position += len(self.last)
        self._meter.count_bytes(len(self.last))
        return self.last

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or position < self._position:
            raise SourceError("is damaged: a header points backwards")
        while self._position < position and (chunk := self._stream.read(min(CHUNK, position - self._position))):
            self._position += len(chunk)
            self._meter.count_bytes(len(chunk))
        return self._position

    def tell(self) -> int:
        return self._position


class _Xz(io.RawIOBase):
    """Unpack xz within a bound of memory, which lzma.LZMAFile does not take."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._decoder = lzma.LZMADecompressor(memlimit=MAX_DECODER)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override] # all that BufferedReader passes
        while True:
            if self._decoder.eof and not self._start_next_stream():
                return 0
            chunk = self._packed.read(io.DEFAULT_BUFFER_SIZE) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not chunk:
                raise EOFError
            inflated = self._decoder.decompress(chunk, len(buffer))
            if inflated:
                buffer[: len(inflated)] = inflated
                return len(inflated)

    def _start_next_stream(self) -> bool:
        """Parallel packers write several streams one after the other."""
        rest = (self._decoder.unused_data or self._packed.read(io.DEFAULT_BUFFER_SIZE)).lstrip(b"\0")
        if rest:
            self._packed.seek(-len(rest), io.SEEK_CUR)
            self._decoder = lzma.LZMADecompressor(memlimit=MAX_DECODER)
        return bool(rest)
