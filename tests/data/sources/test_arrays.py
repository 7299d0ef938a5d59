"""MNIST and MedMNIST: the counts and means that are published, read a block at a time."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from tests.data.archives import left
from tests.data.sources.examples import example_of

from rayology.data import IdxConfig, MedMnistConfig, PreparationConfig, SourceConfig
from rayology.data.prepare import prepare
from rayology.data.sources.source import Example
from rayology.errors import SourceError, UnreadableImage


def examples(config: SourceConfig, root: Path) -> list[Example]:
    source = config.build(root)
    return [example for item in source.items() for example in source.read(item)]


def write_idx(folder: Path, *, images: int = 10, labels: int = 10, claimed: int = 10) -> IdxConfig:
    """Write a small MNIST whose training images may be wrong."""
    config = example_of(IdxConfig, folder)
    header = struct.pack(">HBB3I", 0, 8, 3, claimed, 4, 4)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(16 * images)))
    header = struct.pack(">HBBI", 0, 8, 1, labels)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + bytes(range(labels))))
    return config


@pytest.mark.slow
def test_mnist_has_its_published_counts_and_mean(shared_data: Path, tmp_path: Path) -> None:
    source = IdxConfig(path=str(shared_data / "mnist")).build(tmp_path)
    counts, total, digits = {"train": 0, "test": 0}, 0.0, np.zeros(10, int)

    for item in source.items():
        for example in source.read(item):
            counts[str(example.split)] += 1
            if example.split == "train":
                total += float(example.instance.pixels.mean())
                digits[int(example.label)] += 1

    assert counts == {"train": 60000, "test": 10000}
    assert total / 60000 / 255 == pytest.approx(0.1307, abs=5e-5)
    assert digits.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.slow
def test_mnist_keeps_its_test_images_and_its_mean_when_prepared(shared_data: Path, tmp_path: Path) -> None:
    config = IdxConfig(path=str(shared_data / "mnist"), max_images=3000)

    dataset = prepare(config, PreparationConfig(size=32), tmp_path)

    train, test = dataset.split("train"), dataset.split("test")
    own = [each for each in examples(config, tmp_path) if each.split == "test"]
    assert (len(train), len(dataset.split("validation")), len(test)) == (2550, 450, 3000)
    assert dataset.info.image.classes == tuple("0123456789")
    assert test.labels.tolist() == [int(each.label) for each in own]
    stored = test.stored(np.arange(3000))
    assert stored.mean() == pytest.approx(np.mean([each.instance.pixels.mean() for each in own]), abs=0.1)
    assert (dataset.info.image.values.levels, stored.max()) == (256, 255)
    assert not dataset.info.patient_safe
    assert "not patient-safe" in dataset.info.note


@pytest.mark.slow
def test_pneumonia_has_its_published_splits_and_mean(shared_data: Path, tmp_path: Path) -> None:
    config = MedMnistConfig(
        path=str(shared_data / "pneumoniamnist" / "pneumoniamnist.npz"), classes=("normal", "pneumonia")
    )

    info = prepare(config, PreparationConfig(size=32), tmp_path).info

    found = examples(config, tmp_path)
    train = [each.instance.pixels for each in found if each.split == "train"]
    assert {name: split.classes for name, split in info.splits.items()} == {
        "train": {"normal": 1214, "pneumonia": 3494},
        "validation": {"normal": 135, "pneumonia": 389},
        "test": {"normal": 234, "pneumonia": 390},
    }
    assert np.mean(train) / 255 == pytest.approx(0.5719, abs=5e-5)
    assert "official splits leak: 18 images" in info.note


def test_only_the_first_images_are_read_where_asked(tmp_path: Path) -> None:
    config = example_of(IdxConfig, tmp_path).patched({"max_images": 7})

    splits = [example.split for example in examples(config, tmp_path)]

    assert splits == ["train"] * 7 + ["test"] * 7


def test_an_unpacked_file_reads_like_a_packed_one(tmp_path: Path) -> None:
    config = example_of(IdxConfig, tmp_path)
    packed = examples(config, tmp_path)
    for file in tmp_path.glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()

    for one, other in zip(packed, examples(config, tmp_path), strict=True):
        np.testing.assert_array_equal(one.instance.pixels, other.instance.pixels)


def test_blocks_are_read_in_any_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (1000, 5, 5), np.uint8)
    config = write_idx(tmp_path)
    header = struct.pack(">HBB", 0, 8, 3) + struct.pack(">3I", *values.shape)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    header = struct.pack(">HBBI", 0, 8, 1, 1000)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(header + bytes(number % 10 for number in range(1000)))
    )
    source = config.build(tmp_path / "root")
    train = [item for item in source.items() if item.part == "train"]

    for item in (train[-1], train[0], train[7]):
        found = list(source.read(item))
        np.testing.assert_array_equal(
            np.stack([each.instance.pixels[0] for each in found]), values[item.rows.start : item.rows.stop]
        )
        assert [each.label for each in found] == [str(number % 10) for number in item.rows]


def test_a_label_beyond_the_names_says_where_to_name_it(tmp_path: Path) -> None:
    config = example_of(MedMnistConfig, tmp_path).patched({"classes": ["only"]})

    with pytest.raises(UnreadableImage, match=r"label 1, beyond the 1 names in source\.classes"):
        examples(config, tmp_path)


def test_classes_without_names_are_named_by_number(tmp_path: Path) -> None:
    assert {example.label for example in examples(example_of(MedMnistConfig, tmp_path), tmp_path)} == {"00", "01"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": 9}, "labels of shape"),
        ({"claimed": 2**31}, "its train-images-idx3-ubyte is missing, damaged"),
        ({"claimed": 0}, "its train-images-idx3-ubyte holds values of type uint8 in shape"),
        ({"images": 9}, "its train-images-idx3-ubyte is missing, damaged"),
    ],
)
def test_what_a_header_claims_is_not_believed(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
    config = write_idx(tmp_path, **wrong)

    with pytest.raises(SourceError, match=message):
        config.build(tmp_path).items()


def test_volumes_are_refused_with_what_is_read(tmp_path: Path) -> None:
    config = example_of(MedMnistConfig, tmp_path)
    arrays = {"train_images": np.zeros((4, 8, 8, 8), np.uint8), "train_labels": np.zeros((4, 1), np.uint8)}
    np.savez_compressed(tmp_path / "example.npz", allow_pickle=False, **arrays)

    with pytest.raises(SourceError, match=r"images of shape \(8, 8, 8\)"):
        config.build(tmp_path).items()


def test_an_idx_of_other_values_is_refused(tmp_path: Path) -> None:
    config = write_idx(tmp_path)
    header = struct.pack(">HBB3I", 0, 0x0D, 3, 10, 4, 4)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + bytes(640))

    with pytest.raises(SourceError, match=r"is missing, damaged or not an array of numbers \(ValueError\)"):
        config.build(tmp_path).items()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    config = example_of(IdxConfig, tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()

    with pytest.raises(SourceError, match=r"holds no t10k-labels-idx1-ubyte, gzipped or not; set source\.path"):
        config.build(tmp_path).items()


def test_images_without_fixed_grey_levels_are_refused(tmp_path: Path) -> None:
    config = example_of(MedMnistConfig, tmp_path)
    arrays = {
        f"{split}_{name}": values
        for split in ("train", "val", "test")
        for name, values in (("images", np.zeros((4, 8, 8), np.int32)), ("labels", np.zeros((4, 1), np.uint8)))
    }
    np.savez_compressed(tmp_path / "example.npz", allow_pickle=False, **arrays)

    with pytest.raises(UnreadableImage, match="pixels of type int32 have no fixed grey levels"):
        examples(config, tmp_path)


@pytest.mark.parametrize("source", [IdxConfig, MedMnistConfig])
def test_a_refusal_names_the_limit_that_can_be_raised(
    tmp_path: Path, source: type[IdxConfig] | type[MedMnistConfig]
) -> None:
    config = example_of(source, tmp_path)

    with pytest.raises(SourceError, match=r"raise source\.limits\.max_bytes"):
        config.patched({"limits": {"max_bytes": 100}}).build(tmp_path / "root").items()
    assert config.patched({"limits": {"max_bytes": 10**6}}).build(tmp_path / "root").items()


@pytest.mark.slow
def test_a_bomb_is_refused_with_nothing_left(tmp_path: Path) -> None:
    config = write_idx(tmp_path)
    header = struct.pack(">HBB3I", 0, 8, 3, 10, 2**12, 2**11)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(10 * 2**23)))

    with pytest.raises(SourceError, match="unpacks to more than 100 times its size"):
        config.build(tmp_path / "root").items()

    assert left(tmp_path / "root") == []
