"""A prepared dataset on the way to batches."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rayology.data import FolderConfig, PreparationConfig, PreparedDataset, Split
from rayology.data import writing as writing_module
from rayology.data.prepare import prepare
from rayology.errors import DatasetError
from rayology.image import from_model_range

WriteDicom = Callable[..., Path]
CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path: Path, write_dicom: WriteDicom, monkeypatch: pytest.MonkeyPatch) -> PreparedDataset:
    """Ten patients, two images each, in shards of three."""
    for number in range(20):
        pixels = np.random.default_rng(number).integers(-1000, 1000, (16, 16), np.int16)
        write_dicom(tmp_path / "images" / "ab"[number % 2] / f"{number:02}.dcm", pixels, PatientID=str(number // 2))
    # Shards of a quarter of a gigabyte would hold all.
    monkeypatch.setattr(writing_module, "MAX_SHARD_BYTES", 3 * 2 * 16 * 16)
    source = FolderConfig(path=tmp_path / "images", labels="folder")
    return prepare(source, PreparationConfig(size=16), tmp_path / "root")


@pytest.fixture
def train(dataset: PreparedDataset) -> Split:
    return dataset.split("train")


def test_the_splits_hold_every_image_once(dataset: PreparedDataset) -> None:
    stored = [
        image.tobytes()
        for name in dataset.info.splits
        for image in dataset.split(name).stored(np.arange(len(dataset.split(name))))
    ]

    assert len(stored) == len(set(stored)) == 20


def test_images_are_taken_in_the_order_asked_for_across_shards(train: Split) -> None:
    every = train.stored(np.arange(len(train)))
    order = np.array([7, 0, 7, 11, 3])

    np.testing.assert_array_equal(train.stored(order), every[order])
    assert train.stored(order).dtype == np.uint16


def test_images_are_in_the_models_range_and_come_back_within_half_a_step(train: Split) -> None:
    indices = np.arange(len(train))
    kept = train.info.image.values

    images = train.images(indices)

    assert images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    back = from_model_range(images, kept).numpy()
    np.testing.assert_allclose(back, train.stored(indices) * kept.step + kept.low, atol=kept.step / 2)


def test_the_same_seed_gives_the_same_batch(train: Split) -> None:
    for step in (0, 3, 1000):
        one = train.batch_at(step, batch_size=4, seed=7, rows=slice(None), device=CPU)
        same = train.batch_at(step, batch_size=4, seed=7, rows=slice(None), device=CPU)
        other = train.batch_at(step, batch_size=4, seed=8, rows=slice(None), device=CPU)
        assert torch.equal(one.images, same.images)
        assert torch.equal(one.labels, same.labels)
        assert not torch.equal(one.images, other.images)


@pytest.mark.parametrize("batch_size", [4, 7, 50])
def test_the_parts_of_a_batch_are_the_whole(train: Split, batch_size: int) -> None:
    whole = train.batch_at(3, batch_size=batch_size, seed=0, rows=slice(None), device=CPU)
    cuts = [slice(0, 3), slice(3, 4), slice(4, None)]
    parts = [train.batch_at(3, batch_size=batch_size, seed=0, rows=rows, device=CPU) for rows in cuts]

    assert len(whole.images) == batch_size
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 33])
def test_every_image_comes_once_an_epoch_whatever_the_batch(train: Split, batch_size: int) -> None:
    epochs = 3
    steps = -(-epochs * len(train) // batch_size)
    batches = [
        train.batch_at(step, batch_size=batch_size, seed=1, rows=slice(None), device=CPU) for step in range(steps)
    ]

    seen = [image.numpy().tobytes() for batch in batches for image in batch.images]

    orders = [seen[epoch * len(train) : (epoch + 1) * len(train)] for epoch in range(epochs)]
    assert all(len(set(order)) == len(train) for order in orders)
    assert orders[0] != orders[1]


def test_labels_belong_to_their_images(train: Split) -> None:
    batch = train.batch_at(0, batch_size=len(train), seed=0, rows=slice(None), device=CPU)
    labels = {
        image.tobytes(): label
        for image, label in zip(train.images(np.arange(len(train))).numpy(), train.labels, strict=True)
    }

    for image, label in zip(batch.images, batch.labels, strict=True):
        assert labels[image.numpy().tobytes()] == label
    assert train.labels.dtype == np.int64


def test_masks_of_a_source_without_masks_are_refused(train: Split) -> None:
    assert not train.has_masks
    with pytest.raises(DatasetError, match="has no masks"):
        train.masks(np.arange(2))


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no prepared dataset, make one with jobs/prepare\.py"):
        PreparedDataset.open(tmp_path)


def test_a_damaged_description_names_the_field(dataset: PreparedDataset) -> None:
    file = dataset.path / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 99}))

    with pytest.raises(DatasetError, match="format_version"):
        PreparedDataset.open(dataset.path)


def test_a_missing_or_cut_shard_is_named_at_once(dataset: PreparedDataset) -> None:
    shard = dataset.path / "images-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"images-00001\.npy: has \d+ bytes, expected"):
        PreparedDataset.open(dataset.path)

    shard.unlink()
    with pytest.raises(DatasetError, match=r"images-00001\.npy: is missing"):
        PreparedDataset.open(dataset.path)


def test_a_flipped_bit_is_found_by_its_hash(dataset: PreparedDataset) -> None:
    dataset.verify()
    shard = dataset.path / "images-00002.npy"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)

    with pytest.raises(DatasetError, match=r"images-00002\.npy: damaged"):
        PreparedDataset.open(dataset.path).verify()


def test_a_shard_of_another_shape_is_refused(dataset: PreparedDataset) -> None:
    shard = dataset.path / "images-00000.npy"
    shape = np.load(shard).shape
    np.save(shard, np.zeros((shape[0], 1, 8, 32), np.uint16))

    with pytest.raises(DatasetError, match="a shard is no uint16"):
        PreparedDataset.open(dataset.path).split("train")


def test_a_file_outside_the_folder_cannot_be_named(dataset: PreparedDataset) -> None:
    file = dataset.path / "dataset.json"
    description = json.loads(file.read_text())
    description["files"][0]["name"] = "../../secret.npy"
    file.write_text(json.dumps(description))

    with pytest.raises(DatasetError, match=r"files\.0\.name"):
        PreparedDataset.open(dataset.path)
