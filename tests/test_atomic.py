"""Laws of what appears whole, whatever ends the writing."""

import os
import resource
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from rayology.atomic import Follower, append_line, atomic_file, atomic_folder, make_once, whole_lines, write_atomic


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"before")

    with atomic_file(tmp_path / "file") as opened:
        opened.write(b"after")
        opened.flush()
        assert (tmp_path / "file").read_bytes() == b"before"

    assert (tmp_path / "file").read_bytes() == b"after"
    assert names(tmp_path) == ["file"]


def test_a_file_that_is_not_finished_leaves_what_was_there(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"before")

    with suppress(KeyboardInterrupt), atomic_file(tmp_path / "file") as opened:
        opened.write(b"half")
        raise KeyboardInterrupt

    assert (tmp_path / "file").read_bytes() == b"before"
    assert names(tmp_path) == ["file"]


def test_of_two_writers_at_once_the_last_ones_file_stays(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as last:
        with atomic_file(tmp_path / "file") as first:
            last.write(b"longer than")
            first.write(b"the first")
        last.write(b" the first")

    assert (tmp_path / "file").read_bytes() == b"longer than the first"
    assert names(tmp_path) == ["file"]


def test_a_file_with_the_longest_name_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("a" * 255), b"content")

    assert names(tmp_path) == ["a" * 255]


def test_only_its_owner_reads_what_is_written_unless_others_may(tmp_path: Path) -> None:
    write_atomic(tmp_path / "own" / "file", b"")
    append_line(tmp_path / "own" / "log", "line")
    write_atomic(tmp_path / "shared" / "file", b"", mode=0o666)
    with atomic_folder(tmp_path / "own-folder"), atomic_folder(tmp_path / "shared-folder", mode=0o777):
        pass

    assert {str(path.relative_to(tmp_path)): mode(path) for path in tmp_path.rglob("*")} == {
        "own": 0o700,
        "own-folder": 0o700,
        "own/file": 0o600,
        "own/log": 0o600,
        "shared": 0o755,
        "shared-folder": 0o755,
        "shared/file": 0o644,
    }


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "folder") as folder:
        (folder / "file").touch()
        assert not (tmp_path / "new" / "folder").exists()

    assert names(tmp_path / "new") == ["folder"]
    assert names(tmp_path / "new" / "folder") == ["file"]


def test_a_folder_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), atomic_folder(tmp_path / "folder") as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt

    assert names(tmp_path) == []


def test_what_a_killed_process_left_of_a_folder_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".folder.part").mkdir()
    (tmp_path / ".folder.part" / "half").touch()

    with atomic_folder(tmp_path / "folder"):
        pass

    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == []


def test_a_folder_is_made_once_by_whoever_comes_first(tmp_path: Path) -> None:
    makers: list[Path] = []
    together = threading.Barrier(4)

    def make(folder: Path) -> None:
        makers.append(folder)
        (folder / "file").touch()

    def come(_: int) -> list[str]:
        together.wait()
        make_once(tmp_path / "folder", make)
        return names(tmp_path / "folder")

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(come, range(4)))

    assert len(makers) == 1
    assert seen == [["file"]] * 4


def test_a_folder_that_exists_is_taken_where_nothing_can_be_written(tmp_path: Path) -> None:
    make_once(tmp_path / "folder", lambda _: None)
    (tmp_path / ".folder.lock").unlink()

    make_once(tmp_path / "folder", lambda _: None)

    assert names(tmp_path) == ["folder"]


def test_a_torn_line_is_left_out_of_a_log(tmp_path: Path) -> None:
    for line in ("first", "second", ""):
        append_line(tmp_path / "log", line)
    with (tmp_path / "log").open("ab") as opened:
        opened.write(b"tor")

    assert list(whole_lines(tmp_path / "log")) == [b"first\n", b"second\n", b"\n"]


def test_a_log_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert list(whole_lines(tmp_path / "log")) == []


def test_a_line_that_the_disk_has_no_room_for_is_not_there_in_part(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "first")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="No space left"):
            append_line(tmp_path / "log", "second, and too long")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    append_line(tmp_path / "log", "third")

    assert list(whole_lines(tmp_path / "log")) == [b"first\n", b"third\n"]


def test_a_log_is_followed_line_by_line_and_from_its_start_when_it_was_written_anew(tmp_path: Path) -> None:
    followed = Follower(tmp_path / "log")
    assert followed.lines() == []

    (tmp_path / "log").write_bytes(b"first\nsec")
    assert followed.lines() == [b"first"]
    with (tmp_path / "log").open("ab") as opened:
        opened.write(b"ond\n")
    assert followed.lines() == [b"second"]
    assert followed.lines() == []
    write_atomic(tmp_path / "log", b"other\n")
    assert followed.lines() == [b"other"]
