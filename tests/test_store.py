"""The store: models by name, whose versions stay and whose champions move."""

import hashlib
import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydantic_core
import pytest
from pydantic import ValidationError

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.errors import BundleError, ConfigError, StoreError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import VaeConfig
from rayology.models.backbones import ResNetConfig
from rayology.store import MOST_REMEMBERED, Canary, Store
from rayology.training.promotion import promote

MODEL = VaeConfig(encoder=ResNetConfig(width=8), decoder=ResNetConfig(width=8))
FIXTURES = Path(__file__).parent / "fixtures" / "format_1"
OLD = {  # as the old store called them: when they were published, and a hash of the manifest
    kind: f"{time}-{hashlib.sha256((FIXTURES / kind / 'bundle.json').read_bytes()).hexdigest()[:8]}"
    for kind, time in {"vae": "20251128-120000", "gan": "20251129-120000"}.items()
}


def bundle_in(folder: Path, *, name: str = "lung", **metrics: float) -> Bundle:
    return write_bundle(
        folder,
        experiment=Experiment(name=name, model=MODEL),
        model=MODEL.build(ImageSpec(size=(16, 16))),
        metrics={"copies": 0.0, **metrics},
        provenance=provenance_of(dataset="1234", note="", seed=0, steps=1),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return [bundle_in(folder / str(mmd), mmd=mmd) for mmd in (1.0, 2.0, 3.0)]


@pytest.fixture
def published(store: Store, bundles: list[Bundle]) -> list[str]:
    """Versions of one model."""
    return [store.publish(bundle) for bundle in bundles]


@pytest.fixture
def old_store(tmp_path: Path) -> Store:
    """A store as it was before it held models by name: versions and a champion at its root."""
    for kind, version in OLD.items():
        shutil.copytree(FIXTURES / kind, tmp_path / "old" / version)
    (tmp_path / "old" / "champion").write_text(OLD["vae"])
    return Store(str(tmp_path / "old"))


def test_what_is_fetched_is_what_was_published(store: Store, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "bundle", mmd=0.25)

    version = store.publish(bundle)

    assert Bundle.load(store.fetch("lung", version)).manifest == bundle.manifest
    assert store.manifest("lung", version) == bundle.manifest
    assert store.versions("lung") == [version]
    assert store.models() == ["lung"]


def test_the_same_content_is_the_same_version(store: Store, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "bundle")
    shutil.copytree(bundle.path, tmp_path / "copy")

    with ThreadPoolExecutor(4) as pool:
        versions = set(pool.map(store.publish, [bundle, Bundle.load(tmp_path / "copy")] * 4))

    assert versions == set(store.versions("lung"))
    assert len(versions) == 1


def test_other_content_is_another_version(published: list[str], store: Store) -> None:
    assert len(set(published)) == 3
    assert store.versions("lung") == sorted(published)


def test_a_model_is_called_as_its_experiment_unless_it_is_said(store: Store, tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path / "bundle", name="brain")

    assert store.publish(bundle) == store.publish(bundle, "other")
    assert store.models() == ["brain", "other"]


def test_two_models_of_one_store_have_each_their_champion(store: Store, tmp_path: Path) -> None:
    lung, brain = (store.publish(bundle_in(tmp_path / name, name=name)) for name in ("lung", "brain"))

    store.set_champion("lung", lung)
    assert store.champion_or_none("brain") is None
    store.set_champion("brain", brain)

    assert (store.champion("lung"), store.champion("brain")) == (lung, brain)
    with pytest.raises(StoreError, match=f"lung has no version '{brain}'"):
        store.set_champion("lung", brain)


def test_the_champion_is_the_last_that_was_made_one(
    store: Store, published: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = published

    with caplog.at_level(logging.INFO, "rayology.store"):
        store.set_champion("lung", second)
        store.set_champion("lung", first)
        store.set_champion("lung", first)

    assert store.champion("lung") == first
    assert [f"in place of {second}" in message for message in caplog.messages] == [False, True]


def test_rolling_back_undoes_promotions_one_by_one(store: Store, published: list[str]) -> None:
    for version in published:
        store.set_champion("lung", version)

    assert store.rollback("lung") == published[1]
    assert store.rollback("lung") == store.champion("lung") == published[0]
    with pytest.raises(StoreError, match=f"lung had no champion before {published[0]}; promote another"):
        store.rollback("lung")


def test_rolling_back_passes_over_what_is_not_there_any_more(store: Store, published: list[str]) -> None:
    for version in published:
        store.set_champion("lung", version)
    shutil.rmtree(store.fetch("lung", published[1]))

    assert store.rollback("lung") == published[0]


def test_rolling_back_to_a_version_that_was_deleted_says_that_it_is_gone(store: Store, published: list[str]) -> None:
    before, champion = published[:2]
    for version in (before, champion):
        store.set_champion("lung", version)
    shutil.rmtree(store.fetch("lung", before))

    with pytest.raises(StoreError, match=f"{before}, the champion before {champion}, is no longer in the store; rest"):
        store.rollback("lung")
    assert store.champion("lung") == champion


def test_without_a_champion_nothing_is_rolled_back_and_one_is_to_be_promoted(
    store: Store, published: list[str]
) -> None:
    newest = max(published)
    with pytest.raises(
        StoreError, match=f"no champion; promote one of its 3 .*promote .*--name lung --version {newest}"
    ):
        store.rollback("lung")
    for version in published:
        if version != newest:
            shutil.rmtree(store.fetch("lung", version))
    with pytest.raises(StoreError, match="lung has no champion; promote its version: "):
        store.champion("lung")


def test_a_champion_that_cannot_be_read_is_named(store: Store, published: list[str]) -> None:
    store.set_champion("lung", published[0])
    pointer = Path(store.uri) / "lung" / "champion"
    pointer.write_bytes(b"\xff\xfe")

    with pytest.raises(StoreError, match="lung/champion is damaged; restore a copy, or delete it and promote"):
        store.champion("lung")
    pointer.unlink()
    store.set_champion("lung", published[1])
    assert store.champion("lung") == published[1]


def test_ending_a_canary_tells_whether_there_was_one(store: Store, published: list[str]) -> None:
    store.set_canary("lung", Canary(published[0], 0.5))

    assert [store.end_canary("lung"), store.end_canary("lung")] == [True, False]


def test_only_so_many_champions_are_remembered(store: Store, published: list[str]) -> None:
    for _ in range(MOST_REMEMBERED):
        for version in published:
            store.set_champion("lung", version)

    pointer = (Path(store.uri) / "lung" / "champion").read_text().splitlines()

    assert len(pointer) == 1 + MOST_REMEMBERED
    assert pointer[:2] == [published[2], published[1]]


def test_a_store_without_a_champion_says_how_to_get_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"lung has no champion; run .*rayology tune, or .*with a bundle$"):
        store.champion("lung")
    store.publish(bundle_in(tmp_path / "bundle", name="brain"))
    with pytest.raises(StoreError, match=r"lung has no champion.*; its models: brain$"):
        store.champion("lung")


@pytest.mark.parametrize("version", ["20200101-000000-00000000", "../../etc", "", "champion"])
def test_an_unknown_version_is_refused_with_the_newest_known(store: Store, tmp_path: Path, version: str) -> None:
    known = store.publish(bundle_in(tmp_path / "bundle"))

    with pytest.raises(StoreError, match=f"the newest are: {known}; its models: lung"):
        store.fetch("lung", version)


@pytest.mark.parametrize("name", ["../etc", "", "Lung", "a/b", "champion", "a" * 41])
def test_what_cannot_be_the_name_of_an_experiment_is_not_one_of_a_model(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="is not a name for a model; write up to 40"):
        store.champion(name)
    with pytest.raises(ValidationError, match="name"):
        Experiment(name=name)


def test_a_model_need_not_be_named_where_there_is_only_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no model; run .*rayology tune, or"):
        store.resolve()
    store.publish(bundle_in(tmp_path / "lung"))
    assert store.resolve() == store.resolve("lung") == "lung"
    with pytest.raises(StoreError, match="holds no model 'brain'; name one of: lung"):
        store.resolve("brain")
    store.publish(bundle_in(tmp_path / "brain", name="brain"))
    with pytest.raises(ConfigError, match="holds several models; name one of: brain, lung"):
        store.resolve()


def test_champion_stands_for_the_version_that_is_it(store: Store, published: list[str]) -> None:
    store.set_champion("lung", published[1])

    assert store.pin("lung", "champion") == published[1]
    assert store.pin("lung", published[0]) == published[0]


def test_a_store_behind_a_uri_is_the_same_store(store: Store, tmp_path: Path) -> None:
    version = store.publish(bundle_in(tmp_path / "bundle"))
    store.set_champion("lung", version)

    assert Store(f"file://{tmp_path / 'store'}").champion("lung") == version


def test_a_place_that_is_no_uri_is_refused() -> None:
    with pytest.raises(StoreError, match="no store; write a folder or an object store's URI"):
        Store("nosuch://place")


def test_a_version_without_its_manifest_is_not_there_yet(store: Store, tmp_path: Path) -> None:
    version = store.publish(bundle_in(tmp_path / "bundle"))
    (store.fetch("lung", version) / "bundle.json").unlink()

    assert store.versions("lung") == store.models() == []
    with pytest.raises(StoreError, match="the newest are: none"):
        store.fetch("lung", version)


def test_what_is_not_a_version_is_not_listed(store: Store, published: list[str]) -> None:
    folder = store.fetch("lung", published[0])
    for place in ("lung/backup", f"Lung/{published[0]}", f"lung/deeper/{published[0]}"):
        shutil.copytree(folder, Path(store.uri) / place)
    shutil.copy(folder / "bundle.json", store.uri)

    assert store.models() == ["lung"]
    assert store.versions("lung") == sorted(published)


def test_a_damaged_manifest_is_named(store: Store, published: list[str]) -> None:
    for content, mistake in {
        "{": "is not JSON",
        "[]": "is not a manifest",
        "{}": "format_version None is not known",
        json.dumps({"format_version": 4}): "Field required; damaged, or of another version",
    }.items():
        (store.fetch("lung", published[0]) / "bundle.json").write_text(content)
        with pytest.raises(BundleError, match=rf"{published[0]}/bundle.json: .*{mistake}"):
            store.manifest("lung", published[0])


def test_promoting_at_the_same_time_leaves_one_of_the_champions(store: Store, published: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda version: store.set_champion("lung", version), published * 8))

    assert store.champion("lung") in published


def test_an_object_store_gives_back_what_was_published(
    bundles: list[Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's file system in memory stands for one that has no folders to rename."""
    monkeypatch.setattr("rayology.store.CACHE", tmp_path / "cache")
    store = Store("mock:///bucket")

    versions = [store.publish(bundle) for bundle in bundles[:2]]
    for version in versions:
        store.set_champion("lung", version)

    assert store.models() == ["lung"]
    assert store.versions("lung") == sorted(versions)
    assert store.publish(bundles[0]) == versions[0]
    assert store.champion("lung") == versions[1]
    assert store.rollback("lung") == versions[0]
    assert Bundle.load(store.fetch("lung", versions[0])).manifest == bundles[0].manifest
    assert store.fetch("lung", versions[0]) == store.fetch("lung", versions[0])


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot be reached or written"):
        Store(str(tmp_path / "file")).publish(bundle_in(tmp_path / "bundle"))


def test_a_store_of_before_is_read(old_store: Store) -> None:
    assert old_store.models() == ["old-gan", "old-vae"]
    assert old_store.versions("old-gan") == [OLD["gan"]]
    assert old_store.champion("old-vae") == OLD["vae"]
    assert old_store.champion_or_none("old-gan") is None
    assert Bundle.load(old_store.fetch("old-vae", OLD["vae"])).build()
    assert old_store.manifest("old-gan", OLD["gan"]).name == "old-gan"
    with pytest.raises(StoreError, match="old-gan has no version"):
        old_store.fetch("old-gan", OLD["vae"])


def test_a_store_of_before_goes_on_and_stays_as_it_is(old_store: Store, tmp_path: Path) -> None:
    root = Path(old_store.uri)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    same = old_store.publish(Bundle.load(FIXTURES / "vae"))
    new = old_store.publish(bundle_in(tmp_path / "bundle", name="old-vae"))
    old_store.set_champion("old-vae", new)
    old_store.set_champion("old-gan", OLD["gan"])

    assert same == OLD["vae"]
    assert Store(old_store.uri).champion("old-vae") == new
    assert Store(old_store.uri).champion("old-gan") == OLD["gan"]
    assert old_store.rollback("old-vae") == OLD["vae"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_champion_of_before_may_be_any_models(old_store: Store, tmp_path: Path) -> None:
    """So that no newcomer takes its place without being told to."""
    (Path(old_store.uri) / OLD["vae"] / "bundle.json").write_text("damage")
    store = Store(old_store.uri)

    assert store.models() == ["old-gan"]
    assert store.champion_or_none("old-vae") == OLD["vae"]
    new = store.publish(bundle_in(tmp_path / "bundle", name="old-vae"))
    with pytest.raises(StoreError, match=rf"cannot be compared with the champion {OLD['vae']}"):
        promote(store, "old-vae", new, storage=tmp_path)
    assert promote(store, "old-vae", new, storage=tmp_path, force=True).before == OLD["vae"]
    assert store.champion("old-vae") == new


def test_a_model_of_before_that_was_called_as_the_pointer_does_not_hide_the_others(old_store: Store) -> None:
    file = Path(old_store.uri) / OLD["gan"] / "bundle.json"
    written = json.loads(file.read_text())
    written["experiment"]["name"] = "champion"
    content = pydantic_core.to_json({name: value for name, value in written.items() if name != "checksum"})
    written["checksum"] = hashlib.sha256(content).hexdigest()
    file.write_text(json.dumps(written))

    assert Store(old_store.uri).models() == ["old-vae"]


def test_records_of_sweeps_and_a_model_of_that_name_lie_next_to_each_other(store: Store, bundles: list[Bundle]) -> None:
    version = store.publish(bundles[0], "sweeps")
    store.set_champion("sweeps", version)

    store.keep_record("lung-1", b"{}")

    assert store.records() == {"lung-1": b"{}"}
    assert (store.models(), store.versions("sweeps")) == (["sweeps"], [version])
