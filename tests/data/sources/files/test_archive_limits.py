"""Archives that become more than they may, or take more memory than they should, are refused."""

import gzip
import lzma
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.data.archives import CONTENT, KINDS, held, packed, refuse

from rayology.data.sources.files.archive import ArchiveLimits, unpacked


@pytest.mark.parametrize("kind", KINDS)
def test_more_files_than_allowed_are_refused(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path / f"many{kind}", {str(number): b"" for number in range(11)})

    refuse(archive, tmp_path / "root", "holds more than 10 files", ArchiveLimits(max_files=10))
    assert len(held(unpacked(archive, tmp_path, ArchiveLimits(max_files=11)))) == 11


@pytest.mark.parametrize("kind", KINDS)
def test_more_bytes_than_allowed_are_refused(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path / f"large{kind}", CONTENT)

    refuse(archive, tmp_path / "root", "unpacks to more than 1000000 bytes", ArchiveLimits(max_bytes=1_000_000))


def bomb(start: bytes, form: int) -> bytes:
    """Pack a start, then 10 GB of zeros in 10 MB: the packed form of 16 MiB, 640 times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, form)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + 640 * zeros


def zip_bomb() -> bytes:
    stream = bomb(b"", -zlib.MAX_WBITS)
    fields = struct.pack("<HHHHHIII", 20, 0, zipfile.ZIP_DEFLATED, 0, 0, 0, len(stream), 2**32 - 2)
    local = b"PK\x03\x04" + fields + struct.pack("<HH", 1, 0) + b"a" + stream
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHII", 1, 0, 0, 0, 0, 0, 0) + b"a"
    return local + entry + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)


def tar_bomb(header: tarfile.TarInfo) -> bytes:
    header.size = 10 * 2**30
    return bomb(header.tobuf(tarfile.GNU_FORMAT), zlib.MAX_WBITS + 16)


def of_kind(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("a")
    info.type = kind
    return info


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Say the most bytes that Python held since the start of the test."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("bomb.zip", "more than 100 times its size"),
        ("bomb.tar.gz", "more than 100 times its size"),
        ("header.tar.gz", "a header of more than 65536 bytes"),
        ("name.tar.gz", "a header of more than 65536 bytes"),
    ],
)
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, name: str, match: str, peak: Callable[[], int]) -> None:
    kinds = {"bomb": tarfile.REGTYPE, "header": tarfile.XHDTYPE, "name": tarfile.GNUTYPE_LONGNAME}
    content = zip_bomb() if name.endswith(".zip") else tar_bomb(of_kind(kinds[name.split(".", maxsplit=1)[0]]))
    (tmp_path / name).write_bytes(content)
    del content
    tracemalloc.reset_peak()

    refuse(tmp_path / name, tmp_path / "root", match)

    assert peak() < 2**25


def test_a_directory_of_too_many_entries_is_never_made_into_objects(tmp_path: Path, peak: Callable[[], int]) -> None:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 300_000 * len(entry), 0, 0)
    (tmp_path / "many.zip").write_bytes(300_000 * entry + end)
    tracemalloc.reset_peak()

    refuse(tmp_path / "many.zip", tmp_path / "root", "holds more than 200000 files")

    assert peak() < 2**25


def test_a_directory_larger_than_memory_should_be_is_refused(tmp_path: Path) -> None:
    size = 2**26 + 46
    with (tmp_path / "large.zip").open("wb") as opened:
        opened.seek(size)
        opened.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, size, 0, 0))

    refuse(tmp_path / "large.zip", tmp_path / "root", "has a directory of more than 67108864 bytes")


@pytest.mark.slow
def test_a_million_members_are_refused_in_little_memory(tmp_path: Path, peak: Callable[[], int]) -> None:
    members = of_kind(tarfile.DIRTYPE).tobuf() * 1000
    with gzip.open(tmp_path / "many.tar.gz", "wb", compresslevel=1) as opened:
        for _ in range(1000):
            opened.write(members)
    tracemalloc.reset_peak()

    refuse(tmp_path / "many.tar.gz", tmp_path / "root", "holds more than 5000 files", ArchiveLimits(max_files=5000))

    assert peak() < 2**23


@pytest.mark.parametrize("before", [0, 700])
def test_any_stream_of_xz_that_asks_for_too_much_memory_is_refused(tmp_path: Path, before: int) -> None:
    plain = packed(tmp_path / "all.tar", CONTENT).read_bytes()
    greedy = ["xz", "-c", "--lzma2=preset=0,dict=512MiB"]
    rest = subprocess.run(greedy, input=plain[before:], capture_output=True, check=True).stdout
    (tmp_path / "all.tar.xz").write_bytes((lzma.compress(plain[:before]) if before else b"") + rest)

    refuse(tmp_path / "all.tar.xz", tmp_path / "root", r"damaged, cut short or not an archive \(LZMAError\)")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_may_take_any_memory_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w", method) as opened:
        opened.writestr("a", bytes(1000))

    refuse(tmp_path / "odd.zip", tmp_path / "root", f"is packed by method {method}; pack it by deflate")
