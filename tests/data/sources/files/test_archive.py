"""Archives are unpacked whole and once, or refused with nothing left."""

import lzma
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.data.archives import CONTENT, KINDS, add, held, left, packed, refuse

from rayology.data.sources.files.archive import ArchiveLimits, unpacked
from rayology.errors import SourceError


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


@pytest.mark.parametrize("padding", [0, 4, 2**17])
def test_streams_of_xz_with_zeros_after_each_are_one(tmp_path: Path, padding: int) -> None:
    plain = packed(tmp_path / "all.tar", CONTENT).read_bytes()
    whole = b"".join(lzma.compress(part) + bytes(padding) for part in (plain[:700], plain[700:]))
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


def test_what_is_unpacked_again_counts_as_the_same(tmp_path: Path) -> None:
    archive = packed(tmp_path / "all.zip", CONTENT)

    first, second = (unpacked(archive, tmp_path / root, ArchiveLimits()) for root in ("one", "other"))

    assert first.name == second.name
    assert {file.stat().st_mtime_ns for folder in (first, second) for file in folder.rglob("*") if file.is_file()} == {
        archive.stat().st_mtime_ns
    }


def test_an_archive_in_an_archive_is_a_file(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", CONTENT)

    folder = unpacked(packed(tmp_path / "outer.tar", {"inner.zip": inner.read_bytes()}), tmp_path, ArchiveLimits())

    assert held(folder) == {"inner.zip": inner.read_bytes()}


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    archive = packed(tmp_path / "all.zip", CONTENT)
    folder = unpacked(archive, tmp_path, ArchiveLimits())
    unfinished = folder.with_name(f".{folder.name}.part")
    folder.rename(unfinished)

    unpacked(archive, tmp_path, ArchiveLimits())

    assert left(tmp_path) == [folder.name]


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "b/../../a",
        "/a",
        "..\\a",
        "b\\..\\..\\a",
        "C:\\a",
        "c:a",
        "\\\\server\\a",
        "x/" * 70 + "a",
        "x/" * 2000 + "a",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = packed(tmp_path / f"bad{kind}", {"first": b"1", name: b"2"})

    refuse(archive, tmp_path / "root", "member 2: a name is absolute, leads upwards or is too deep")


def test_a_folder_is_made_for_its_files_alone(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "odd.tar", "w") as opened:
        add(opened, "../outside", kind=tarfile.DIRTYPE)
        add(opened, "empty", kind=tarfile.DIRTYPE)
        add(opened, "a", b"1")
    archive = packed(tmp_path / "odd.zip", {"../outside/": b"", "empty/": b"", "a": b"1"})

    for folder in (unpacked(each, tmp_path / "root", ArchiveLimits()) for each in (archive, tmp_path / "odd.tar")):
        assert [file.name for file in folder.rglob("*")] == ["a"]
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("kind", [".zip", ".tar"])
@pytest.mark.parametrize(
    ("one", "other"),
    [("b/a", "b//a"), ("a", "./a"), ("\u00e4", "a\u0308"), ("a", "a/b"), ("a/b", "a"), ("a\\b", "a/b")],
)
def test_names_that_clash_once_normalised_are_refused(tmp_path: Path, kind: str, one: str, other: str) -> None:
    archive = packed(tmp_path / f"bad{kind}", {one: b"1", other: b"2"})

    refuse(archive, tmp_path / "root", "member 2: has the name of an earlier one once both are normalised")


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


def test_no_message_holds_the_name_of_a_member(tmp_path: Path) -> None:
    archive = packed(tmp_path / "bad.tar", {"../Doe^Jane": b"1"})

    with pytest.raises(SourceError) as raised:
        unpacked(archive, tmp_path, ArchiveLimits())

    assert "Doe" not in str(raised.value)
