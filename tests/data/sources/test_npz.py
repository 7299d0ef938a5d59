"""Each way in which an npz file may be wrong has its own message, and nothing in one is unpickled."""

import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray

from rayology.data import MedMnistConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.sources.npz import open_npz
from rayology.errors import SourceError


class Trap:
    """Fail the test where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("was unpickled",)


def saved(file: Path, rows: NDArray[np.generic]) -> Path:
    np.savez(file, rows=rows)
    return file


def with_member(file: Path, content: bytes, *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", method) as opened:
        opened.writestr("rows.npy", content)
    return file


def header(shape: tuple[int, ...]) -> bytes:
    stream = BytesIO()
    npy.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([Trap()], object), "rows holds pickled objects, which are never unpickled; write numbers instead"),
        (np.zeros((3, 4), np.float32), "rows holds values of type float32; write whole numbers, such as uint8"),
        (np.zeros((3, 4), np.uint8, "F"), "rows lies in column order; write numpy.ascontiguousarray of it"),
        (np.zeros((0, 4), np.uint8), "rows has no row, or more than the file can hold"),
        (np.uint8(3), "rows has no row, or more than the file can hold"),
    ],
    ids=["objects", "floats", "columns", "empty", "scalar"],
)
def test_an_array_of_something_else_says_what_to_write(tmp_path: Path, rows: NDArray[np.generic], message: str) -> None:
    file = saved(tmp_path / "a.npz", rows)

    with pytest.raises(SourceError, match=rf"a\.npz: its array {message}"):
        open_npz(file, "rows")


def test_a_file_without_the_array_says_how_many_others_it_has_and_names_none(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as opened:
        for name in ("rows", "Doe^Jane.npy"):
            opened.writestr(name, header((1,)))

    with pytest.raises(SourceError, match=r"holds no array rows, but 2 others; set source\.path") as raised:
        open_npz(tmp_path / "a.npz", "rows")

    assert "Doe" not in str(raised.value)


@pytest.mark.parametrize("content", [b"no zip", pickle.dumps(Trap()), b""], ids=["text", "pickle", "empty"])
def test_a_file_that_is_no_zip_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)

    with pytest.raises(
        SourceError, match=r"is no zip file, as every npz file is; write it with numpy\.savez_compressed"
    ):
        open_npz(tmp_path / "a.npz", "rows")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_says_so(tmp_path: Path, share: float) -> None:
    file = saved(tmp_path / "a.npz", np.zeros((300, 40), np.uint8))
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(
        SourceError, match="its end is missing or damaged, as where a copy was cut short; copy it again"
    ):
        open_npz(file, "rows")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.npz: cannot be opened \(No such file or directory\); set source\.path"):
        open_npz(tmp_path / "a.npz", "rows")


@pytest.mark.parametrize("content", [b"", b"no array", pickle.dumps(Trap()), header((1,))[:20]])
def test_a_member_that_is_no_array_is_damaged(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match=r"its array rows cannot be read \(ValueError\), so it is damaged"):
        open_npz(with_member(tmp_path / "a.npz", content), "rows")


def test_content_that_does_not_inflate_is_damaged(tmp_path: Path) -> None:
    file = with_member(tmp_path / "a.npz", header((1,)) * 9, method=zipfile.ZIP_DEFLATED)
    content = bytearray(file.read_bytes())
    content[38:48] = b"\xff" * 10  # behind the member's header and name
    file.write_bytes(content)

    with pytest.raises(SourceError, match=r"its array rows cannot be read \(error\), so it is damaged"):
        open_npz(file, "rows")


@pytest.mark.parametrize("shape", [(2**70, 2), (-1, 2), (3, -2), (2**20, 2**6)])
def test_a_shape_that_no_file_of_that_size_holds_is_not_believed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match="has no row, or more than the file can hold"):
        open_npz(with_member(tmp_path / "a.npz", header(shape)), "rows")


def test_an_encrypted_member_is_our_own_error(tmp_path: Path) -> None:
    content = bytearray(saved(tmp_path / "a.npz", np.zeros(300, np.uint8)).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # APPNOTE 4.3.7, 4.3.12
        content[content.index(signature) + flags] |= 1
    (tmp_path / "a.npz").write_bytes(content)

    with pytest.raises(SourceError, match="is encrypted, or packed by a method that is not read"):
        open_npz(tmp_path / "a.npz", "rows")


def test_one_wrong_array_stops_a_preparation_before_any_image_is_read(tmp_path: Path) -> None:
    config = MedMnistConfig.example(tmp_path)
    arrays = dict(np.load(config.path)) | {"test_labels": np.array([Trap()], object)}
    np.savez(config.path, **arrays)

    with pytest.raises(SourceError, match="test_labels holds pickled objects"):
        prepare(config, PreparationConfig(size=16), tmp_path / "root")


@pytest.mark.parametrize("num_files", [0, 2])
def test_a_folder_is_no_file_unless_it_holds_just_one(tmp_path: Path, num_files: int) -> None:
    config = MedMnistConfig.example(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(num_files):
        (folder / f"{number}.npz").write_bytes(Path(config.path).read_bytes())

    with pytest.raises(SourceError, match=rf"a folder with {num_files} npz files; set source\.path to one"):
        config.patched({"path": str(folder)}).build(tmp_path / "root").items()
