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
from rayology.image import from_model_range, to_model_range

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


def test_labels_belong_to_their_images(train: Split) -> None:
    batch = train.batch(train.sampler(seed=0).at(np.arange(len(train))), device=CPU)
    labels = {
        image.tobytes(): label
        for image, label in zip(train.images(np.arange(len(train))).numpy(), train.labels, strict=True)
    }

    for image, label in zip(batch.images, batch.labels, strict=True):
        assert labels[image.numpy().tobytes()] == label
    assert train.labels.dtype == np.int64


def test_images_are_gathered_into_memory_that_is_there(train: Split) -> None:
    order = np.array([7, 0, 7, 11, 3])
    memory = np.full((5, 1, 16, 16), 9, np.uint16)

    gathered = train.stored(order, out=memory)

    assert gathered is memory
    np.testing.assert_array_equal(memory, train.stored(order))


def test_levels_are_scaled_in_place_to_the_same_bits(train: Split) -> None:
    stored = torch.from_numpy(train.stored(np.arange(5))).float()
    scaled = to_model_range(stored, train.info.image.values)

    in_place = to_model_range(stored, train.info.image.values, out=stored)

    assert in_place is stored
    assert torch.equal(in_place, scaled)


def test_a_dataset_without_classes_cannot_be_balanced(data: PreparedDataset) -> None:
    unlabelled = data.info.patched({"image": {"classes": []}})

    with pytest.raises(DatasetError, match="has no classes to balance; write natural"):
        PreparedDataset(data.path, unlabelled).split("train").sampler(seed=0, sampling="balanced")


def test_masks_of_a_source_without_masks_are_refused(train: Split) -> None:
    assert not train.has_masks
    with pytest.raises(DatasetError, match="has no masks"):
        train.masks(np.arange(2))


def test_a_folder_that_is_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"not a prepared dataset, make one with jobs/prepare\.py"):
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

    with pytest.raises(DatasetError, match="a shard is not uint16"):
        PreparedDataset.open(dataset.path).split("train")


def test_a_file_outside_the_folder_cannot_be_named(dataset: PreparedDataset) -> None:
    file = dataset.path / "dataset.json"
    description = json.loads(file.read_text())
    description["files"][0]["name"] = "../../secret.npy"
    file.write_text(json.dumps(description))

    with pytest.raises(DatasetError, match=r"files\.0\.name"):
        PreparedDataset.open(dataset.path)
