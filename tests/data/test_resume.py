"""What is left of a preparation that was interrupted, failed, or ran out of disk."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.data.bodies import SMALL, all_rows, prepared

from rayology.data import FolderConfig, PreparationConfig
from rayology.data import prepare as prepare_module
from rayology.data import workers as workers_module
from rayology.data import writing as writing_module
from rayology.data.journal import Journal
from rayology.data.prepare import Progress, prepare
from rayology.data.reading import read_items
from rayology.data.records import Outcome, Work
from rayology.data.report import report_file
from rayology.data.sources.source import Item, Source
from rayology.errors import DatasetError, SourceError


def test_nothing_half_is_left_by_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # A full disk cannot be made without privileges.
    monkeypatch.setattr(writing_module, "_write_index", full)

    with pytest.raises(DatasetError, match="no space is left"):
        prepared(folder)
    assert [file for file in (folder.parent / "root" / "datasets").iterdir() if file.is_dir()] == []


def stop_after(files: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.stage == "reading" and progress.done == files:
            raise KeyboardInterrupt

    return report


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """The items that are read, in order."""
    read: list[Item] = []

    def noted(
        source: Source, preparation: PreparationConfig, key: bytes, items: Sequence[tuple[int, Item]]
    ) -> list[Work]:
        read.extend(item for _, item in items)
        return read_items(source, preparation, key, items)

    # What is read shows nowhere else, and workers of a Ray that other tests started would not note it here.
    monkeypatch.setattr(prepare_module, "read_items", noted)
    for module in (prepare_module, workers_module):
        monkeypatch.setattr(module, "is_parallel", lambda: False)
    return read


def test_an_interrupted_preparation_goes_on_where_it_was(folder: Path, read_files: list[Item]) -> None:
    (folder / "notes.txt").write_text("no image")
    whole = prepare(FolderConfig(path=folder), SMALL, folder.parent / "whole")
    num_files = len(read_files)
    read_files.clear()

    with pytest.raises(KeyboardInterrupt):
        prepare(FolderConfig(path=folder), SMALL, folder.parent / "root", report=stop_after(7))
    resumed = prepare(FolderConfig(path=folder), SMALL, folder.parent / "root")

    assert len(read_files) == num_files
    assert resumed.info.counts == whole.info.counts
    assert resumed.info.reasons == whole.info.reasons
    images = [file.sha256 for file in whole.info.files if file.name.startswith("images")]
    assert [file.sha256 for file in resumed.info.files if file.name.startswith("images")] == images
    assert not list(resumed.path.parent.glob(".*.partial"))


@pytest.mark.parametrize("damage", ["torn line", "short pixels", "long pixels"])
def test_what_was_half_written_when_the_process_ended_is_read_again(
    folder: Path, read_files: list[Item], damage: str
) -> None:
    root = folder.parent / "root"
    whole = prepare(FolderConfig(path=folder), SMALL, folder.parent / "whole")
    num_files = len(read_files)
    read_files.clear()
    with pytest.raises(KeyboardInterrupt):
        prepare(FolderConfig(path=folder), SMALL, root, report=stop_after(7))
    (partial,) = (root / "datasets").glob(".*.partial")
    file = partial / "readings" / ("outcomes.jsonl" if damage == "torn line" else "pixels-1x16x16.scratch")
    content = file.read_bytes()
    file.write_bytes(content + b"half a slice" if damage == "long pixels" else content[:-3])

    resumed = prepare(FolderConfig(path=folder), SMALL, root)

    again = {"torn line": 1, "short pixels": 7, "long pixels": 0}[damage]
    assert len(read_files) == num_files + again
    images = [file.sha256 for file in whole.info.files if file.name.startswith("images")]
    assert [file.sha256 for file in resumed.info.files if file.name.startswith("images")] == images


def test_a_full_disk_says_so_and_leaves_nothing_behind(folder: Path, small_disk: Path) -> None:
    with pytest.raises(DatasetError, match="no space is left"):
        prepare(FolderConfig(path=folder), PreparationConfig(size=512), small_disk)

    assert not list((small_disk / "datasets").glob("[!.]*"))
    assert not list((small_disk / "datasets").glob(".*-*"))


def test_a_damaged_dataset_is_found_and_a_missing_report_is_written_again(folder: Path) -> None:
    done = prepared(folder)
    report_file(done).unlink()

    again = prepared(folder)

    assert again.reused
    assert report_file(again).exists()
    shard = done.path / "images-00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match="damaged"):
        prepared(folder)


def test_pixels_that_were_written_before_the_first_line_are_cut_off(folder: Path) -> None:
    whole = prepared(folder)
    again = folder.parent / "again"
    partial = again / "datasets" / f".{whole.info.fingerprint}.partial" / "readings"
    partial.mkdir(parents=True)
    (partial / "pixels-1x16x16.scratch").write_bytes(b"x" * 700)
    (partial / "masks-1x16x16.scratch").write_bytes(b"x" * 200)

    resumed = prepare(FolderConfig(path=folder), SMALL, again)

    images = [file.sha256 for file in whole.info.files if file.name.startswith("images")]
    assert [file.sha256 for file in resumed.info.files if file.name.startswith("images")] == images


def test_a_line_that_lost_only_its_end_is_read_again(tmp_path: Path) -> None:
    first, second = Outcome(reasons=((0, "first"),)), Outcome(reasons=((1, "second"),))
    journal = Journal(tmp_path)
    journal.write(first, ())
    journal.write(Outcome(), ())
    (tmp_path / "outcomes.jsonl").write_bytes((tmp_path / "outcomes.jsonl").read_bytes()[:-1])

    assert journal.replay() == [first]
    journal.write(second, ())
    assert journal.replay() == [first, second]


def test_after_a_line_of_zeros_what_follows_is_done_again(tmp_path: Path) -> None:
    first, second = Outcome(reasons=((0, "first"),)), Outcome(reasons=((1, "second"),))
    journal = Journal(tmp_path)
    journal.write(first, ())
    with (tmp_path / "outcomes.jsonl").open("ab") as opened:
        opened.write(bytes(8) + b"\n")
    journal.write(second, ())

    assert journal.replay() == [first]
    assert journal.replay() == [first]


def test_a_source_that_makes_no_dataset_leaves_no_key(folder: Path) -> None:
    with pytest.raises(SourceError, match="no image of the modality"):
        prepared(folder, modality="PT")

    assert not [file for file in (folder.parent / "root").rglob("*") if file.is_file() and file.suffix != ".lock"]


def test_a_key_outlives_its_dataset(folder: Path) -> None:
    first = prepared(folder)
    patients = [row["patient"] for row in all_rows(first)]
    shutil.rmtree(first.path)

    assert [row["patient"] for row in all_rows(prepared(folder))] == patients
