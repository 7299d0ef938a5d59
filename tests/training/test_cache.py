"""A dataset that nodes copy to their own disks."""

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from rayology.data import PreparedDataset
from rayology.training import cache
from rayology.training.cache import cached

OTHER_DISK = Path("/dev/shm")  # noqa: S108 - on Linux, one in memory


@pytest.fixture
def own_disk(data: PreparedDataset) -> Iterator[Path]:
    """A folder on another disk than the storage."""
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == data.path.stat().st_dev:
        pytest.skip(f"{OTHER_DISK} is not a disk of its own")
    with TemporaryDirectory(dir=OTHER_DISK) as folder:
        yield Path(folder) / "cache"


def test_of_several_processes_one_copies_the_dataset_and_all_use_it(
    data: PreparedDataset, own_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[Path] = []
    copy = cache._copy

    def counted(shared: PreparedDataset, unfinished: Path) -> None:
        copies.append(unfinished)
        copy(shared, unfinished)

    monkeypatch.setattr(cache, "_copy", counted)
    with ThreadPoolExecutor(4) as several:
        opened = list(several.map(lambda _: cached(data.path, own_disk), range(4)))

    assert len(copies) == 1
    assert {each.path for each in opened} == {own_disk / data.info.fingerprint}
    opened[0].verify()


@pytest.mark.parametrize("what", ["too little room", "a damaged copy", "half a copy", "no folder"])
def test_if_no_copy_can_be_made_or_it_is_damaged_one_line_says_why_and_the_storage_is_read(
    what: str,
    *,
    data: PreparedDataset,
    own_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = "Not a directory"
    if what == "too little room":
        # How full a disk is changes.
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
        said = "cache has 0.000"
    elif what == "no folder":
        own_disk.write_bytes(b"")
        own_disk /= "below"
    else:
        (images,) = cached(data.path, own_disk).path.glob("images-*.npy")
        content = images.read_bytes()
        images.write_bytes(content[:100] if what == "half a copy" else bytes(len(content)))
        said = "has 100 bytes" if what == "half a copy" else "damaged; delete"

    with caplog.at_level(logging.WARNING, "rayology"):
        opened = cached(data.path, own_disk)

    assert opened.path == data.path
    (line,) = caplog.messages
    assert line.startswith("scaling.cache: the dataset has no usable copy (")
    assert said in line
    assert "\n" not in line


def test_nothing_is_copied_within_a_disk_or_unless_asked_for(data: PreparedDataset, tmp_path: Path) -> None:
    for folder in (tmp_path / "cache", None):
        assert cached(data.path, folder).path == data.path
    assert not list((tmp_path / "cache").iterdir())
