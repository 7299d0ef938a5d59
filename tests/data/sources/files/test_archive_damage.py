"""Archives that are damaged, encrypted or too large for the disk are refused with nothing left."""

import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.data.archives import CONTENT, KINDS, add, left, packed, refuse

from rayology.data.sources.files.archive import ArchiveLimits, unpacked
from rayology.errors import SourceError


def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = packed(tmp_path / "lie.zip", {"a": bytes(1000)}).read_bytes()
    for claim in (999, 10):
        (tmp_path / "lie.zip").write_bytes(content.replace(struct.pack("<I", 1000), struct.pack("<I", claim)))

        refuse(tmp_path / "lie.zip", tmp_path / "root", "damaged, cut short or not an archive")


def test_an_encrypted_member_says_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as opened:
        opened.writestr("a", b"1")
        opened.filelist[0].flag_bits |= 1  # the standard library writes no encrypted files

    refuse(tmp_path / "secret.zip", tmp_path / "root", "is encrypted; pack it without a password")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.97])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    archive = packed(tmp_path / f"cut{kind}", CONTENT | {"last": os.urandom(20_000)})
    size = archive.stat().st_size - (8192 if kind == ".tar" else 0)  # tarfile pads to 10 kB
    os.truncate(archive, int(size * share))

    refuse(archive, tmp_path / "root", "damaged, cut short")


def test_a_tar_that_ends_between_members_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "cut.tar", {"a": bytes(512), "b": bytes(512)})
    os.truncate(archive, 1024)

    refuse(archive, tmp_path / "root", "is damaged, cut short")


def test_a_header_that_points_backwards_is_refused(tmp_path: Path) -> None:
    """Such a file kept tarfile busy for ever."""
    info = tarfile.TarInfo("b")
    info.size = -1024
    with tarfile.open(tmp_path / "bad.tar", "w") as opened:
        add(opened, "a", b"1")
    sound = (tmp_path / "bad.tar").read_bytes()
    (tmp_path / "bad.tar").write_bytes(sound[:1024] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))

    refuse(tmp_path / "bad.tar", tmp_path / "root", "is damaged")


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
