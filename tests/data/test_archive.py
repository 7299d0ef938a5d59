"""Archives are unpacked whole and once, or refused with nothing left."""

import gzip
import io
import os
import shutil
import stat
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rayology.data.archive import unpacked
from rayology.data.packed import ArchiveLimits
from rayology.errors import SourceError

CONTENT = {"a": b"1", "b/c": b"", "b/d e/f.dcm": bytes(range(256)) * 9000}
KINDS = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz"]
TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}


def packed(archive: Path, content: dict[str, bytes]) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, value in content.items():
                opened.writestr(name, value)
        return archive
    with tarfile.open(archive, TAR_MODES["".join(archive.suffixes)]) as opened:  # type: ignore[call-overload]
        for name, value in content.items():
            add(opened, name, value)
    return archive


def add(opened: tarfile.TarFile, name: str, value: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(value), "a"
    opened.addfile(info, io.BytesIO(value))


def held(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


def left(root: Path) -> list[str]:
    return [entry.name for entry in (root / "sources").iterdir() if not entry.name.endswith(".lock")]


def refuse(archive: Path, root: Path, match: str, limits: ArchiveLimits | None = None) -> None:
    with pytest.raises(SourceError, match=match):
        unpacked(archive, root, limits or ArchiveLimits())
    assert left(root) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_archive_gives_back_what_was_packed(tmp_path: Path, kind: str) -> None:
    folder = unpacked(packed(tmp_path / f"all{kind}", CONTENT), tmp_path, ArchiveLimits())

    assert held(folder) == CONTENT


def test_what_other_programs_pack_is_what_tar_unpacks(shared_data: Path, head_folder: Path, tmp_path: Path) -> None:
    archive = shared_data / "ct_head_ge" / "ct_head_ge_28.tar.xz"

    assert held(unpacked(archive, tmp_path, ArchiveLimits())) == held(head_folder)


@pytest.mark.slow
def test_a_large_zip_gives_back_what_zipfile_does(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "mednist" / "mednist_18000.zip"

    folder = unpacked(archive, tmp_path, ArchiveLimits())

    with zipfile.ZipFile(archive) as opened:
        assert held(folder) == {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}


def test_streams_of_xz_one_after_the_other_are_one(tmp_path: Path) -> None:
    plain = packed(tmp_path / "all.tar", CONTENT).read_bytes()
    whole = b"".join(
        subprocess.run(["xz", "-c"], input=part, capture_output=True, check=True).stdout + bytes(4)
        for part in (plain[:700], plain[700:])
    )
    (tmp_path / "all.tar.xz").write_bytes(whole)

    assert held(unpacked(tmp_path / "all.tar.xz", tmp_path, ArchiveLimits())) == CONTENT


def test_an_archive_is_unpacked_once_for_its_owner_alone(tmp_path: Path) -> None:
    archive = packed(tmp_path / "all.zip", CONTENT)

    first = unpacked(archive, tmp_path, ArchiveLimits())
    (first / "mark").touch()

    assert unpacked(archive, tmp_path, ArchiveLimits()) == first
    assert (first / "mark").exists()
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


def test_an_archive_that_changed_is_unpacked_anew(tmp_path: Path) -> None:
    first = unpacked(packed(tmp_path / "all.zip", {"a": b"1"}), tmp_path, ArchiveLimits())

    second = unpacked(packed(tmp_path / "all.zip", {"a": b"22"}), tmp_path, ArchiveLimits())

    assert (held(first), held(second)) == ({"a": b"1"}, {"a": b"22"})


def test_an_archive_in_an_archive_is_a_file(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", CONTENT)

    folder = unpacked(packed(tmp_path / "outer.tar", {"inner.zip": inner.read_bytes()}), tmp_path, ArchiveLimits())

    assert held(folder) == {"inner.zip": inner.read_bytes()}


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    archive = packed(tmp_path / "all.zip", CONTENT)
    folder = unpacked(archive, tmp_path, ArchiveLimits())
    unfinished = folder.with_name(f".{folder.name}-1234.part")
    folder.rename(unfinished)

    unpacked(archive, tmp_path, ArchiveLimits())

    assert left(tmp_path) == [folder.name]


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize(
    "name",
    ["../a", "b/../../a", "/a", "..\\a", "b\\..\\..\\a", "C:\\a", "c:a", "\\\\server\\a", "x/" * 70 + "a", "x/" * 2000],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = packed(tmp_path / f"bad{kind}", {"first": b"1", name: b"2"})

    refuse(archive, tmp_path / "root", "member 2 has a name that is absolute, leads upwards or is too deep")


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize(
    ("one", "other"),
    [("b/a", "b//a"), ("a", "./a"), ("\u00e4", "a\u0308"), ("a", "a/b"), ("a/b", "a"), ("a\\b", "a/b")],
)
def test_names_that_clash_once_normalised_are_refused(tmp_path: Path, kind: str, one: str, other: str) -> None:
    archive = packed(tmp_path / f"bad{kind}", {one: b"1", other: b"2"})

    refuse(archive, tmp_path / "root", "member 2 has the name of an earlier one once both are normalised")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as opened:
        add(opened, "a", b"1")
        add(opened, "b", kind=kind)

    refuse(tmp_path / "bad.tar", tmp_path / "root", "member 2 is a link, a device or a sparse file")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as opened:
        opened.writestr(info, "/etc/passwd")

    refuse(tmp_path / "bad.zip", tmp_path / "root", "member 1 is a link")


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as opened:
        opened.truncate(2**20)
    for form in ("gnu", "posix"):
        archive = tmp_path / f"{form}.tar"
        subprocess.run(["tar", "-S", f"--format={form}", "-cf", archive, "-C", tmp_path, "sparse"], check=True)

        refuse(archive, tmp_path / "root", "member 1 is a link, a device or a sparse file")


@pytest.mark.parametrize("kind", KINDS)
def test_more_files_than_allowed_are_refused(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path / f"many{kind}", {str(number): b"" for number in range(11)})

    refuse(archive, tmp_path / "root", "holds more than 10 files", ArchiveLimits(max_files=10))
    assert len(held(unpacked(archive, tmp_path, ArchiveLimits(max_files=11)))) == 11


@pytest.mark.parametrize("kind", KINDS)
def test_more_bytes_than_allowed_are_refused(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path / f"large{kind}", CONTENT)

    refuse(archive, tmp_path / "root", "becomes more than 1000000 bytes", ArchiveLimits(max_bytes=1_000_000))


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


def test_xz_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    plain = packed(tmp_path / "all.tar", CONTENT)
    subprocess.run(["xz", "-k", "--lzma2=preset=0,dict=512MiB", plain], check=True)

    refuse(tmp_path / "all.tar.xz", tmp_path / "root", "damaged or no archive")


def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = packed(tmp_path / "lie.zip", {"a": bytes(1000)}).read_bytes()
    for claim in (999, 10):
        (tmp_path / "lie.zip").write_bytes(content.replace(struct.pack("<I", 1000), struct.pack("<I", claim)))

        refuse(tmp_path / "lie.zip", tmp_path / "root", "damaged or no archive")


def test_an_encrypted_member_says_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as opened:
        opened.writestr("a", b"1")
        opened.filelist[0].flag_bits |= 1  # the standard library writes no encrypted files

    refuse(tmp_path / "secret.zip", tmp_path / "root", "is encrypted; unpack it yourself")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_may_take_any_memory_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w", method) as opened:
        opened.writestr("a", bytes(1000))

    refuse(tmp_path / "odd.zip", tmp_path / "root", f"is packed by method {method}; pack it by deflate")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.97])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    archive = packed(tmp_path / f"cut{kind}", CONTENT | {"last": os.urandom(20_000)})
    size = archive.stat().st_size - (8192 if kind == ".tar" else 0)  # tarfile pads to 10 kB
    os.truncate(archive, int(size * share))

    refuse(archive, tmp_path / "root", "damaged|truncated")


def test_a_tar_that_ends_between_members_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "cut.tar", {"a": bytes(512), "b": bytes(512)})
    os.truncate(archive, 1024)

    refuse(archive, tmp_path / "root", "is truncated or damaged")


def test_a_header_that_points_backwards_is_refused(tmp_path: Path) -> None:
    """Such a file kept tarfile busy for ever."""
    info = tarfile.TarInfo("b")
    info.size = -1024
    with tarfile.open(tmp_path / "bad.tar", "w") as opened:
        add(opened, "a", b"1")
    sound = (tmp_path / "bad.tar").read_bytes()
    (tmp_path / "bad.tar").write_bytes(sound[:1024] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))

    refuse(tmp_path / "bad.tar", tmp_path / "root", "is damaged: a header points backwards")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_our_error_or_none(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path / f"odd{kind}", {"a": b"1" * 700, "b/c": b"", "d": os.urandom(300)})
    sound = archive.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(sound)
        for at in random.integers(0, min(len(sound), 2048), random.integers(1, 4)):
            damaged[at] = random.integers(256)
        archive.write_bytes(damaged)
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
        try:
            unpacked(archive, tmp_path / "root", ArchiveLimits())
        except SourceError:
            refused += 1
            assert left(tmp_path / "root") == []

    assert refused > 30


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_says_so_and_stays_empty(tmp_path: Path, small_disk: Path, kind: str) -> None:
    archive = packed(tmp_path / f"large{kind}", CONTENT)

    refuse(archive, small_disk, "cannot be unpacked below .*No space left on device")


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "root").touch()

    with pytest.raises(SourceError, match="cannot be unpacked below"):
        unpacked(packed(tmp_path / "all.zip", CONTENT), tmp_path / "root", ArchiveLimits())


def test_no_message_holds_the_name_of_a_member(tmp_path: Path) -> None:
    archive = packed(tmp_path / "bad.tar", {"../Doe^Jane": b"1"})

    with pytest.raises(SourceError) as raised:
        unpacked(archive, tmp_path, ArchiveLimits())

    assert "Doe" not in str(raised.value)
