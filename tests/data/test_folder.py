"""A folder as a source."""

import os
from pathlib import Path

import pytest

from rayology.data.folder import FolderConfig
from rayology.errors import SourceError


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
    (inside / "alias").symlink_to(inside / "image")

    assert listed(FolderConfig(path=inside)) == [("alias", ""), ("image", "")]


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
