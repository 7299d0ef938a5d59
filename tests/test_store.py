"""The store: versions stay, the champion moves."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.errors import BundleError, StoreError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import VaeConfig
from rayology.models.backbones import ResNetConfig
from rayology.store import Store

MODEL = VaeConfig(backbone=ResNetConfig(width=8))


def bundle_in(folder: Path, **metrics: float) -> Bundle:
    return write_bundle(
        folder,
        experiment=Experiment(model=MODEL),
        model=MODEL.build(ImageSpec(size=(16, 16))),
        metrics={"copies": 0.0, **metrics},
        provenance=provenance_of(dataset="1234", note="", seed=0, steps=1),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_what_is_fetched_is_what_was_published(store: Store, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "bundle", mmd=0.25)

    version = store.publish(bundle)

    assert Bundle.load(store.fetch(version)).manifest == bundle.manifest
    assert store.versions() == [version]


def test_the_champion_is_the_last_that_was_promoted(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (store.publish(bundle_in(tmp_path / str(mmd), mmd=mmd)) for mmd in (1.0, 2.0))

    with caplog.at_level(logging.INFO, "rayology.store"):
        store.promote(second)
        store.promote(first)

    assert store.champion() == first
    assert [f"in place of {second}" in message for message in caplog.messages] == [False, True]
    assert store.versions() == sorted([first, second])


def test_publishing_twice_leaves_one_version_whole(store: Store, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "bundle")

    versions = {store.publish(bundle), store.publish(bundle)}

    for version in versions:
        Bundle.load(store.fetch(version))


def test_a_model_that_copies_is_not_promoted(store: Store, tmp_path: Path) -> None:
    version = store.publish(bundle_in(tmp_path / "bundle", copies=0.21))

    with pytest.raises(StoreError, match="21% of its samples are copies of training images, more than 20%"):
        store.promote(version)
    with pytest.raises(StoreError, match="has no champion"):
        store.champion()


def test_a_store_without_a_champion_says_how_to_get_one(store: Store) -> None:
    with pytest.raises(StoreError, match=r"has no champion; run jobs/tune.py"):
        store.champion()


@pytest.mark.parametrize("version", ["20200101-000000-00000000", "../../etc", "", "champion"])
def test_an_unknown_version_is_refused_with_the_newest_known(store: Store, tmp_path: Path, version: str) -> None:
    known = store.publish(bundle_in(tmp_path / "bundle"))

    with pytest.raises(StoreError, match=f"the newest are: {known}"):
        store.fetch(version)


def test_a_damaged_version_is_not_promoted(store: Store, tmp_path: Path) -> None:
    version = store.publish(bundle_in(tmp_path / "bundle"))
    (store.fetch(version) / "weights.safetensors").write_bytes(b"damage")

    with pytest.raises(BundleError, match="was altered"):
        store.promote(version)


def test_a_store_behind_a_uri_is_the_same_store(store: Store, tmp_path: Path) -> None:
    version = store.publish(bundle_in(tmp_path / "bundle"))
    store.promote(version)

    assert Store(f"file://{tmp_path / 'store'}").champion() == version


def test_a_place_that_is_no_uri_is_refused() -> None:
    with pytest.raises(StoreError, match="no store; write a folder or an object store's URI"):
        Store("nosuch://place")


def test_a_model_whose_copies_nobody_counted_is_not_promoted(store: Store, tmp_path: Path) -> None:
    bundle = write_bundle(
        tmp_path / "bundle",
        experiment=Experiment(model=MODEL),
        model=MODEL.build(ImageSpec(size=(16, 16))),
        metrics={},
        provenance=provenance_of(dataset="1234", note="", seed=0, steps=1),
    )

    with pytest.raises(StoreError, match="has no figure 'copies'"):
        store.promote(store.publish(bundle))


def test_a_version_without_its_manifest_is_not_there_yet(store: Store, tmp_path: Path) -> None:
    version = store.publish(bundle_in(tmp_path / "bundle"))
    (store.fetch(version) / "bundle.json").unlink()

    assert store.versions() == []


def test_promoting_at_the_same_time_leaves_one_of_the_champions(store: Store, tmp_path: Path) -> None:
    versions = [store.publish(bundle_in(tmp_path / str(mmd), mmd=mmd)) for mmd in (1.0, 2.0)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store.promote, versions * 8))

    assert store.champion() in versions


def test_an_object_store_gives_back_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's file system in memory stands for one that has no folders to rename."""
    monkeypatch.setattr("rayology.store.CACHE", tmp_path / "cache")
    store = Store("mock:///bucket")
    bundle = bundle_in(tmp_path / "bundle", mmd=0.25)

    version = store.publish(bundle)
    store.promote(version)

    assert store.champion() == version
    assert Bundle.load(store.fetch(version)).manifest == bundle.manifest
    assert store.fetch(version) == store.fetch(version)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot be reached or written"):
        Store(str(tmp_path / "file")).publish(bundle_in(tmp_path / "bundle"))
