"""Objects become files once, and only those that the store still holds."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from rayology.data.sources.files.objects import fetch_objects
from rayology.errors import SourceError
from rayology.uri import Place


@pytest.fixture
def store(tmp_path: Path) -> Place:
    """A folder behind Arrow's own wrapper, which is no disk to those who ask."""
    (tmp_path / "store").mkdir()
    return Place(fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem()), "prefix")


def put(tmp_path: Path, name: str, content: bytes) -> Path:
    file = tmp_path / "store" / "prefix" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def held(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


def test_every_object_becomes_a_file_with_its_bytes(tmp_path: Path, store: Place) -> None:
    content = {"a": b"1", "b/c": bytes(3 * 2**20 + 7), "b/d": b""}
    for name, value in content.items():
        put(tmp_path, name, value)

    fetch_objects(store, tmp_path / "copy")

    assert held(tmp_path / "copy") == content
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_only_what_changed_is_fetched_again(tmp_path: Path, store: Place) -> None:
    put(tmp_path, "same", b"1")
    changed = put(tmp_path, "changed", b"1")
    fetch_objects(store, tmp_path / "copy")
    before = {name: (tmp_path / "copy" / name).stat().st_ino for name in ("same", "changed")}

    changed.write_bytes(b"22")
    fetch_objects(store, tmp_path / "copy")

    assert held(tmp_path / "copy") == {"changed": b"22", "same": b"1"}
    assert (tmp_path / "copy" / "same").stat().st_ino == before["same"]
    assert (tmp_path / "copy" / "changed").stat().st_ino != before["changed"]


def test_what_the_store_forgot_and_what_a_kill_left_is_deleted(tmp_path: Path, store: Place) -> None:
    put(tmp_path, "kept", b"1")
    forgotten = put(tmp_path, "forgotten", b"1")
    fetch_objects(store, tmp_path / "copy")

    forgotten.unlink()
    (tmp_path / "copy" / "other.part").write_bytes(b"half")
    fetch_objects(store, tmp_path / "copy")

    assert held(tmp_path / "copy") == {"kept": b"1"}


@pytest.fixture
def small_files() -> Iterator[Callable[[], None]]:
    """Let no file grow beyond 1 MB until the call, as on a disk that is full until someone clears it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_interrupted_copy_goes_on_where_it_stopped(tmp_path: Path, small_files: Callable[[], None]) -> None:
    memory = Place(fs.FileSystem.from_uri("mock:///bucket")[0], "bucket")
    memory.files.create_dir("bucket")
    for name, size in (("1", 100), ("2", 2**21), ("3", 100)):
        with memory.files.open_output_stream(f"bucket/{name}") as stream:
            stream.write(bytes(size))

    with pytest.raises(SourceError, match=r"bucket: cannot be fetched \(File too large\); run it again"):
        fetch_objects(memory, tmp_path / "copy")
    fetched = {file: file.stat().st_ino for file in (tmp_path / "copy").iterdir()}
    small_files()
    fetch_objects(memory, tmp_path / "copy")

    assert {file.name for file in fetched} <= {"1", "3"}
    assert {file: file.stat().st_ino for file in fetched} == fetched
    assert held(tmp_path / "copy") == {"1": bytes(100), "2": bytes(2**21), "3": bytes(100)}


def test_a_place_that_holds_nothing_says_so(tmp_path: Path, store: Place) -> None:
    with pytest.raises(SourceError, match=r"prefix: cannot be listed .*check source\.path and the rights"):
        fetch_objects(store, tmp_path / "copy")


def test_no_object_is_written_outside_the_folder(tmp_path: Path) -> None:
    """Arrow's file system in memory takes any name, as object stores do."""
    memory = fs.FileSystem.from_uri("mock:///bucket")[0]
    memory.create_dir("bucket/C:")
    with memory.open_output_stream("bucket/C:/Doe") as stream:
        stream.write(b"1")

    with pytest.raises(SourceError, match="bucket: a name is absolute") as raised:
        fetch_objects(Place(memory, "bucket"), tmp_path / "copy")

    assert "Doe" not in str(raised.value)


def test_objects_whose_names_clash_are_refused(tmp_path: Path) -> None:
    memory = fs.FileSystem.from_uri("mock:///bucket")[0]
    memory.create_dir("bucket")
    for name in ("\u00e4", "a\u0308"):
        with memory.open_output_stream(f"bucket/{name}") as stream:
            stream.write(b"1")

    with pytest.raises(SourceError, match="two objects have one name once both are normalised"):
        fetch_objects(Place(memory, "bucket"), tmp_path / "copy")


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path, store: Place) -> None:
    put(tmp_path, "a", b"1")
    (tmp_path / "copy").touch()

    with pytest.raises(SourceError, match=r"prefix: cannot be fetched \(File exists\)"):
        fetch_objects(store, tmp_path / "copy")
