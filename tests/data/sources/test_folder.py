"""A folder as a source."""

import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from pyarrow import fs

from rayology.data.sources.files import local as local_module
from rayology.data.sources.files.archive import ArchiveLimits
from rayology.data.sources.files.local import BROKEN, OUTSIDE, TO_FOLDER
from rayology.data.sources.folder import FolderConfig
from rayology.errors import SourceError
from rayology.uri import Place


def listed(config: FolderConfig) -> list[tuple[str, str]]:
    items = config.build(Path("unused")).items()
    return [(item.path.relative_to(config.path).as_posix(), item.label) for item in items]


def test_every_file_below_is_listed_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1/x", "a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert listed(FolderConfig(path=tmp_path)) == [("a", ""), ("b/1/x", ""), ("b/2", "")]


def test_the_first_folder_below_is_the_class(tmp_path: Path) -> None:
    for name in ("benign/patient/1", "malignant/1", "stray"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert listed(FolderConfig(path=tmp_path, labels="folder")) == [
        ("benign/patient/1", "benign"),
        ("malignant/1", "malignant"),
        ("stray", ""),
    ]


@pytest.mark.parametrize(("path", "name"), [("images", "images/a"), ("~/images", "home/images/a")])
def test_files_are_listed_where_every_process_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    for folder in ("images", "home/images"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    (item,) = FolderConfig(path=Path(path), labels="folder").build(Path("unused")).items()

    assert item.path == tmp_path / name


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "image").touch()
    (inside / "file").symlink_to(tmp_path / "outside" / "secret")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to(inside)
    (inside / "lost").symlink_to(tmp_path / "nothing")
    (inside / "round").symlink_to("round")
    os.mkfifo(tmp_path / "pipe")
    (inside / "pipe").symlink_to(tmp_path / "pipe")
    (inside / "alias").symlink_to(inside / "image")

    items = FolderConfig(path=inside).build(tmp_path).items()

    assert {item.part: item.reason for item in items} == {
        "alias": "",
        "image": "",
        "file": OUTSIDE,
        "folder": TO_FOLDER,
        "loop": TO_FOLDER,
        "lost": BROKEN,
        "pipe": BROKEN,
        "round": BROKEN,
    }


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "image").touch()

    assert listed(FolderConfig(path=tmp_path)) == [("image", "")]


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_a_source_without_files_says_what_to_set(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(SourceError, match=rf"{name}: .*set source\.path"):
        listed(FolderConfig(path=tmp_path / name))


@pytest.mark.slow
def test_an_archive_gives_what_its_folder_gives(tmp_path: Path, head_folder: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "head"), "gztar", head_folder)
    source = FolderConfig(path=archive, labels="folder").build(tmp_path / "root")
    plain = FolderConfig(path=head_folder, labels="folder").build(tmp_path / "root")

    items, plain_items = source.items(), plain.items()

    assert [item.path.name for item in items] == [item.path.name for item in plain_items]
    assert [item.label for item in items] == [item.label for item in plain_items]
    for item, other in zip(items, plain_items, strict=True):
        (one,), (two,) = source.read(item), plain.read(other)
        assert (one.instance.pixels == two.instance.pixels).all()
        assert one.instance.identity == two.instance.identity


def test_the_limits_of_an_archive_are_its_source_s(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as opened:
        opened.writestr("a", b"")
        opened.writestr("b", b"")

    with pytest.raises(SourceError, match=r"two.zip: holds more than 1 files; raise source\.limits\.max_files"):
        FolderConfig(path=tmp_path / "two.zip", limits=ArchiveLimits(max_files=1)).build(tmp_path).items()


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    tarfile.open(tmp_path / "empty.tar", "w").close()

    with pytest.raises(SourceError, match=r"empty.tar: holds no file; set source\.path"):
        FolderConfig(path=tmp_path / "empty.tar").build(tmp_path).items()


def test_a_dicomdir_gives_what_it_refers_to(shared_data: Path, tmp_path: Path) -> None:
    medium = shared_data / "dicom_zoo" / "pydicom" / "dicomdirtests"
    source = FolderConfig(path=medium / "DICOMDIR").build(tmp_path)

    items = source.items()

    assert {item.path for item in items} == set(medium.glob("[0-9]*/*/*"))
    assert {item.part.split("/")[0] for item in items} == {"77654033", "98892001", "98892003"}
    assert len(list(source.read(items[0]))) == 1


def test_a_file_uri_is_its_path(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1").touch()

    (item,) = FolderConfig(path=f"file://{tmp_path}/images", labels="folder").build(Path("unused")).items()

    assert (item.path, item.label) == (tmp_path / "images" / "a" / "1", "a")


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("nosuch://place", "source.path names no place: .*write a folder, or a URI of file, s3 or gs"),
        ("s3://me:secret@bucket/a", "source.path names no place: the URI holds a password"),
    ],
)
def test_a_uri_that_cannot_be_used_says_why(tmp_path: Path, path: str, match: str) -> None:
    with pytest.raises(SourceError, match=match) as raised:
        FolderConfig(path=path).build(tmp_path).items()

    assert "secret" not in str(raised.value)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> fs.FileSystem:
    """Arrow's file system in memory stands for an object store; a URI would open another, empty one each time."""
    memory = fs.FileSystem.from_uri("mock:///bucket")[0]
    memory.create_dir("bucket")
    monkeypatch.setattr(local_module, "located", lambda uri: Place(memory, uri.removeprefix("mock:///")))
    return memory


def put(bucket: fs.FileSystem, name: str, content: bytes) -> None:
    bucket.create_dir(f"bucket/{name}".rpartition("/")[0], recursive=True)
    with bucket.open_output_stream(f"bucket/{name}") as stream:
        stream.write(content)


def test_objects_are_files_of_the_source(tmp_path: Path, bucket: fs.FileSystem) -> None:
    put(bucket, "images/benign/1", b"1")
    put(bucket, "images/malignant/deep/2", b"22")
    put(bucket, "other", b"3")

    items = FolderConfig(path="mock:///bucket/images", labels="folder").build(tmp_path).items()

    assert [(item.label, item.path.read_bytes()) for item in items] == [("benign", b"1"), ("malignant", b"22")]


def test_an_archive_in_an_object_store_is_unpacked(tmp_path: Path, bucket: fs.FileSystem) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as opened:
        opened.writestr("benign/1", b"1")
    put(bucket, "all.zip", (tmp_path / "all.zip").read_bytes())
    put(bucket, "other", b"3")

    (item,) = FolderConfig(path="mock:///bucket/all.zip", labels="folder").build(tmp_path).items()

    assert (item.label, item.path.read_bytes()) == ("benign", b"1")


def test_a_dicomdir_in_an_object_store_is_followed(shared_data: Path, tmp_path: Path, bucket: fs.FileSystem) -> None:
    medium = shared_data / "dicom_zoo" / "pydicom" / "dicomdirtests" / "TINY_ALPHA"
    for file in medium.rglob("*"):
        if file.is_file():
            put(bucket, f"disc/{file.relative_to(medium).as_posix()}", file.read_bytes())

    items = FolderConfig(path="mock:///bucket/disc/DICOMDIR").build(tmp_path).items()

    assert len(items) == 50
    assert all(item.path.is_file() for item in items)
