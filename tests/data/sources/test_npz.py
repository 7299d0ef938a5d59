"""Each way in which an npz file may be wrong has its own message, and nothing in one is unpickled."""

import pickle
import stat
import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray
from tests.data.archives import left
from tests.data.sources.examples import example_of

from rayology.data import MedMnistConfig, PreparationConfig
from rayology.data.prepare import prepare
from rayology.data.sources import arrays as arrays_module
from rayology.data.sources.source import Item
from rayology.errors import SourceError


class Trap:
    """Fail the test where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("was unpickled",)


def items(file: Path) -> Sequence[Item]:
    return MedMnistConfig(path=str(file)).build(file.parent / "root").items()


def saved(folder: Path, **arrays: NDArray[np.generic] | np.generic) -> Path:
    """Save an example of which some arrays are others."""
    file = Path(example_of(MedMnistConfig, folder).path)
    np.savez_compressed(file, **{**np.load(file), **arrays})
    return file


def with_member(folder: Path, content: bytes) -> Path:
    """Save an example whose first array is something else."""
    file = Path(example_of(MedMnistConfig, folder).path)
    with zipfile.ZipFile(file) as opened:
        members = {name: opened.read(name) for name in opened.namelist()} | {"train_images.npy": content}
    with zipfile.ZipFile(file, "w") as opened:
        for name, value in members.items():
            opened.writestr(name, value)
    return file


def header(shape: tuple[int, ...]) -> bytes:
    stream = BytesIO()
    npy.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([Trap()], object), r"is .* not an array of numbers \(ValueError\); .* objects are never unpickled"),
        (np.zeros((20, 4, 4), np.float32), r"holds values of type float32 in shape \(20, 4, 4\); write whole numbers"),
        (np.zeros((0, 4, 4), np.uint8), r"holds values of type uint8 in shape \(0, 4, 4\); .* at least one"),
    ],
    ids=["objects", "floats", "empty"],
)
@pytest.mark.parametrize("name", ["train_images", "test_labels"])
def test_an_array_of_something_else_says_what_to_write(
    tmp_path: Path, name: str, array: NDArray[np.generic], message: str
) -> None:
    file = saved(tmp_path, **{name: array})

    with pytest.raises(SourceError, match=rf"^{file}: its {name}\.npy {message}"):
        items(file)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"val_images": np.uint8(3)}, r"images of shape \(\); write two axes"),
        ({"val_images": np.zeros((8, 4, 4, 4), np.uint8)}, r"images of shape \(4, 4, 4\); write two axes"),
        ({"val_labels": np.uint8(3)}, r"labels of shape \(\) for 8 images; write one class each"),
        ({"val_labels": np.zeros((8, 2), np.uint8)}, r"labels of shape \(8, 2\) for 8 images"),
        ({"val_labels": np.zeros(7, np.uint8)}, r"labels of shape \(7,\) for 8 images"),
    ],
)
def test_arrays_that_are_not_images_with_a_class_each_are_refused(
    tmp_path: Path, arrays: dict[str, NDArray[np.generic]], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        items(saved(tmp_path, **arrays))


def test_an_image_that_is_too_large_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is lowered, so that no large file has to be written."""
    monkeypatch.setattr(arrays_module, "MAX_IMAGE_BYTES", 12 * 12 * 3 - 1)

    with pytest.raises(SourceError, match="at most 431 bytes"):
        items(saved(tmp_path))


def test_rows_may_lie_in_any_order_and_with_any_end_first(tmp_path: Path) -> None:
    plain = MedMnistConfig(path=str(saved(tmp_path))).build(tmp_path / "root")
    arrays = dict(np.load(plain.config.path))
    (tmp_path / "other").mkdir()
    np.savez(
        tmp_path / "other" / "a.npz",
        **arrays
        | {
            "train_images": np.asfortranarray(arrays["train_images"]),
            "train_labels": arrays["train_labels"].astype(">i8"),
        },
    )
    other = MedMnistConfig(path=str(tmp_path / "other" / "a.npz")).build(tmp_path / "root")

    for one, same in zip(plain.items(), other.items(), strict=True):
        for expected, found in zip(plain.read(one), other.read(same), strict=True):
            assert expected.label == found.label
            np.testing.assert_array_equal(expected.instance.pixels, found.instance.pixels)


def test_a_file_without_an_array_says_so_and_names_no_other(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as opened:
        opened.writestr("Doe^Jane.npy", header((1,)))

    with pytest.raises(SourceError, match=r"its train_images\.npy is missing") as raised:
        items(tmp_path / "a.npz")

    assert "Doe" not in str(raised.value)


@pytest.mark.parametrize("content", [b"no zip", pickle.dumps(Trap()), b""], ids=["text", "pickle", "empty"])
def test_a_file_that_is_no_zip_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)

    with pytest.raises(SourceError, match=r"a\.npz: is damaged, cut short or not an archive \(BadZipFile\); copy it"):
        items(tmp_path / "a.npz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_says_so_and_leaves_nothing(tmp_path: Path, share: float) -> None:
    file = saved(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(SourceError, match="is damaged, cut short or not an archive"):
        items(file)

    assert left(tmp_path / "root") == []


@pytest.mark.parametrize("name", ["missing.npz", "a.zip"])
def test_a_file_that_is_missing_or_another_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").touch()

    with pytest.raises(SourceError, match=rf"{name}: is missing or not an npz file; set source\.path to one"):
        items(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [b"", b"no array", pickle.dumps(Trap()), header((1,))[:20], b"PK\x03\x04"]
    + [header(shape) for shape in ((2**70, 2), (-1, 2), (3, -2), (2**20, 2**6))],
)
def test_a_member_that_is_no_array_or_claims_more_than_it_holds_is_damaged(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match=r"its train_images\.npy is missing, damaged or not an array of numbers"):
        items(with_member(tmp_path, content))


def test_content_that_does_not_inflate_is_damaged(tmp_path: Path) -> None:
    file = saved(tmp_path)
    content = bytearray(file.read_bytes())
    content[100:200] = b"\xff" * 100  # behind the first member's header and name
    file.write_bytes(content)

    with pytest.raises(SourceError, match="is damaged, cut short or not an archive"):
        items(file)


@pytest.mark.slow
def test_a_bomb_is_refused_with_nothing_left(tmp_path: Path) -> None:
    file = saved(tmp_path, test_images=np.zeros((80, 1024, 1024), np.uint8))

    with pytest.raises(SourceError, match=r"unpacks to more than 100 times its size, .* pack it without compression"):
        items(file)

    assert left(tmp_path / "root") == []


def test_an_encrypted_member_is_our_own_error(tmp_path: Path) -> None:
    file = saved(tmp_path)
    content = bytearray(file.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # APPNOTE 4.3.7, 4.3.12
        content[content.index(signature) + flags] |= 1
    file.write_bytes(content)

    with pytest.raises(SourceError, match="is encrypted; pack it without a password"):
        items(file)


def test_arrays_are_unpacked_once_for_their_owner_alone(tmp_path: Path) -> None:
    file = saved(tmp_path)
    first = items(file)
    before = {each.path.stat().st_ino for each in first}

    assert items(file) == first
    assert {each.path.stat().st_ino for each in first} == before
    assert stat.S_IMODE(first[0].path.parent.stat().st_mode) == 0o700


def test_one_wrong_array_stops_a_preparation_before_any_image_is_read(tmp_path: Path) -> None:
    config = example_of(MedMnistConfig, tmp_path)
    saved(tmp_path, test_labels=np.array([Trap()], object))

    with pytest.raises(SourceError, match=r"test_labels\.npy is .* never unpickled"):
        prepare(config, PreparationConfig(size=16), tmp_path / "root")


@pytest.mark.parametrize("num_files", [0, 2])
def test_a_folder_is_no_file_unless_it_holds_just_one(tmp_path: Path, num_files: int) -> None:
    config = example_of(MedMnistConfig, tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(num_files):
        (folder / f"{number}.npz").write_bytes(Path(config.path).read_bytes())

    with pytest.raises(SourceError, match=rf"a folder with {num_files} npz files; set source\.path to one"):
        config.patched({"path": str(folder)}).build(tmp_path / "root").items()


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    file = saved(tmp_path)

    assert MedMnistConfig(path=str(tmp_path)).build(tmp_path / "root").items() == items(file)
