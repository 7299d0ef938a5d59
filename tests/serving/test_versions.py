"""Which version answers: the champion that the store names now, its canary, or the one that a request names."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from tests.serving.conftest import OPEN, Bridge
from tests.serving.exchanges import refused

from rayology.bundle import Bundle, write_bundle
from rayology.errors import BundleError, ConfigError, RefusedByGate, StoreError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import GanConfig, ModelConfig
from rayology.serving import versions as versions_module
from rayology.serving.app import ServeArgs, load
from rayology.serving.monitoring import Monitor
from rayology.serving.predictor import Predictor, Threads
from rayology.serving.rest import RestApp
from rayology.serving.versions import MOST_HELD, Versions
from rayology.store import Canary, Store

ASKED = {"count": 2, "seed": 1}
SMALL = ImageSpec(size=(16, 16))


@pytest.fixture(scope="module")
def bundles(make_bundle: Callable[[ModelConfig, ImageSpec], Bundle]) -> list[Bundle]:
    """Give bundles whose images differ."""
    return [make_bundle(GanConfig(latents=16 + number), SMALL) for number in range(MOST_HELD + 1)]


@pytest.fixture
def store(tmp_path: Path, bundles: list[Bundle]) -> Store:
    """Give a store that holds them all, the first as champion."""
    store = Store(str(tmp_path / "store"))
    published = [store.publish(bundle, "tiny") for bundle in bundles]
    store.set_champion("tiny", published[0])
    return store


@pytest.fixture
def copying(store: Store, bundles: list[Bundle], tmp_path: Path) -> str:
    """Give a version of the store that copies training images."""
    return published(store, bundles[0], tmp_path, {"copies": 0.5})


@pytest.fixture
def versions(store: Store, threads: Threads) -> Iterator[Versions]:
    args = ServeArgs(store=store.uri, model="tiny", batch_size=4)
    made = Versions(store, "tiny", lambda version: load(args, store, threads, version))
    yield made
    made.close()


@pytest.fixture
def session(versions: Versions, tmp_path: Path) -> httpx.Client:
    app = RestApp(versions, OPEN, Monitor(tmp_path / "metrics"))
    return httpx.Client(transport=Bridge(app), base_url="http://model")


def served(session: httpx.Client, **headers: str) -> str:
    answer = session.post("/generate", json=ASKED, headers={name.replace("_", "-"): headers[name] for name in headers})
    assert answer.status_code == 200
    return str(answer.headers["x-rayology-version"])


def published(store: Store, bundle: Bundle, folder: Path, metrics: dict[str, float]) -> str:
    """Publish a bundle once more, with other figures."""
    experiment, origin = Experiment(name="tiny", model=bundle.manifest.model), bundle.manifest.provenance
    changed = write_bundle(
        folder / "changed", experiment=experiment, model=bundle.build(), metrics=metrics, provenance=origin
    )
    return store.publish(changed, "tiny")


def damage(store: Store, version: str) -> None:
    weights = store.fetch("tiny", version) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def others(store: Store) -> list[str]:
    champion = store.champion("tiny")
    return [version for version in store.versions("tiny") if version != champion]


def test_a_new_champion_answers_without_a_restart_and_what_was_asked_before_keeps_its_version(
    versions: Versions, store: Store, session: httpx.Client
) -> None:
    first, second = store.champion("tiny"), others(store)[0]
    before, holding = session.post("/generate", json=ASKED), versions.champion
    store.set_champion("tiny", second)

    assert served(session) == first
    versions.look()

    assert served(session) == session.get("/").json()["version"] == second
    assert holding.card.version == first
    again = session.post("/generate", json=ASKED, headers={"X-Rayology-Version": first})
    assert again.content == before.content
    assert session.post("/generate", json=ASKED).content != before.content


def test_the_store_is_looked_at_again_and_again(
    store: Store, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions_module, "POLL_S", 0.01)
    seen = threading.Event()
    args = ServeArgs(store=store.uri, model="tiny", batch_size=4)

    def loading(version: str) -> Predictor:
        if version != first:
            seen.set()
        return load(args, store, threads, version)

    first = store.champion("tiny")
    versions = Versions(store, "tiny", loading)
    versions.follow()
    store.set_champion("tiny", others(store)[0])

    assert seen.wait(10)
    versions.close()


def test_a_damaged_champion_leaves_the_one_before_it_and_operators_learn_why(
    versions: Versions, store: Store, session: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    first, damaged, sound = store.champion("tiny"), *others(store)[:2]
    damage(store, damaged)
    store.set_champion("tiny", damaged)

    for _ in range(3):
        versions.look()

    assert served(session) == first
    assert refused(session.get("/readyz"), 503) == f"{damaged} cannot be served: it is damaged or foreign"
    assert session.get("/healthz").status_code == 200
    assert sum("cannot be served" in message for message in caplog.messages) == 1
    store.set_champion("tiny", sound)
    versions.look()
    assert served(session) == sound
    assert session.get("/readyz").json() == {"status": "ok"}


def test_a_store_that_is_away_leaves_what_is_served(versions: Versions, store: Store, session: httpx.Client) -> None:
    first = served(session)
    (Path(store.uri) / "tiny" / "champion").rename(Path(store.uri) / "champion-elsewhere")

    versions.look()

    assert served(session) == first
    refused(session.get("/readyz"), 503)


def test_a_canary_answers_its_share_and_an_id_always_goes_to_the_same(
    versions: Versions, store: Store, session: httpx.Client
) -> None:
    first, canary = store.champion("tiny"), others(store)[0]
    store.set_canary("tiny", Canary(canary, 0.25))
    versions.look()

    chosen = {str(number): versions.chosen(str(number)).card.version for number in range(1000)}

    assert 200 < sum(version == canary for version in chosen.values()) < 300
    for number in range(8):
        assert served(session, X_Request_ID=str(number)) == chosen[str(number)]
    store.end_canary("tiny")
    versions.look()
    assert {versions.chosen(str(number)).card.version for number in range(100)} == {first}


def test_a_damaged_canary_gets_nothing(versions: Versions, store: Store) -> None:
    damage(store, others(store)[0])
    store.set_canary("tiny", Canary(others(store)[0], 1))

    versions.look()

    assert versions.chosen("any") is versions.champion
    assert len(versions.complaints) == 1


def test_a_canary_that_cannot_be_read_holds_up_no_champion(versions: Versions, store: Store) -> None:
    (Path(store.uri) / "tiny" / "canary").write_bytes(b"\xff\xfe")
    store.set_champion("tiny", others(store)[0])

    versions.look()

    assert versions.champion.card.version == store.champion("tiny")
    assert versions.complaints == ("the canary cannot be read from the store",)


def test_a_version_that_could_not_be_fetched_is_tried_again(store: Store, threads: Threads) -> None:
    args, failures = ServeArgs(store=store.uri, model="tiny", batch_size=4), [StoreError("away")]

    def loading(version: str) -> Predictor:
        if version != first and failures:
            raise failures.pop()
        return load(args, store, threads, version)

    first = store.champion("tiny")
    versions = Versions(store, "tiny", loading)
    store.set_champion("tiny", others(store)[0])
    versions.look()
    assert (versions.champion.card.version, [*versions.complaints]) == (
        first,
        [f"{store.champion('tiny')} cannot be served: the store cannot be read"],
    )

    versions.look()

    assert (versions.champion.card.version, versions.complaints) == (store.champion("tiny"), ())


def test_versions_in_memory_answer_while_another_is_loaded(store: Store, threads: Threads) -> None:
    slow, args = threading.Event(), ServeArgs(store=store.uri, model="tiny", batch_size=4)

    def loading(version: str) -> Predictor:
        assert version == first or slow.wait(30)
        return load(args, store, threads, version)

    first = store.champion("tiny")
    waiting = Versions(store, "tiny", loading)
    begun = waiting.asked_for(others(store)[0])

    assert waiting.held(first) is waiting.chosen("any")
    assert waiting.asked_for(others(store)[0]) is begun
    for version in others(store)[1:]:
        waiting.asked_for(version)
    slow.set()
    assert begun.result(30).card.version == others(store)[0]


def test_a_client_that_goes_leaves_what_it_named_to_be_loaded_for_others(
    store: Store, threads: Threads, tmp_path: Path
) -> None:
    slow, args = threading.Event(), ServeArgs(store=store.uri, model="tiny", batch_size=4)

    def loading(version: str) -> Predictor:
        assert version == first or slow.wait(30)
        return load(args, store, threads, version)

    first, (loaded, queued, *_) = store.champion("tiny"), others(store)
    versions = Versions(store, "tiny", loading)
    app = RestApp(versions, OPEN, Monitor(tmp_path / "metrics"))
    versions.asked_for(loaded)

    async def go_away() -> None:
        transport = httpx.ASGITransport(app)
        request = httpx.Request("POST", "http://model/generate", headers={"X-Rayology-Version": queued}, json=ASKED)
        asking = asyncio.create_task(transport.handle_async_request(request))
        await asyncio.sleep(0.3)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(go_away())
    slow.set()

    assert versions.asked_for(queued).result(30).card.version == queued
    versions.close()


def test_a_promotion_ends_its_canary_and_so_does_a_rollback(store: Store) -> None:
    first, new = store.champion("tiny"), others(store)[0]

    store.set_canary("tiny", Canary(new, 0.1))
    store.set_champion("tiny", new)
    assert store.canary("tiny") is None
    store.set_canary("tiny", Canary(first, 0.1))
    store.rollback("tiny")

    assert (store.champion("tiny"), store.canary("tiny")) == (first, None)


def test_what_a_request_names_answers_and_only_so_many_are_held(
    versions: Versions, store: Store, session: httpx.Client
) -> None:
    for version in others(store):
        assert served(session, X_Rayology_Version=version) == version

    assert len(versions._held) == MOST_HELD
    assert served(session) == store.champion("tiny")


@pytest.mark.parametrize("named", ["champion", "20260101-000000-00000000", "../secret", "x" * 500])
def test_a_version_that_there_is_not_is_refused_and_the_store_is_not_told_of(
    session: httpx.Client, store: Store, named: str
) -> None:
    said = refused(session.post("/generate", json={}, headers={"X-Rayology-Version": named}), 404)

    assert "no such version here" in said
    assert store.uri not in said


def test_what_waits_is_counted_over_all_versions_that_are_held(
    versions: Versions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = others(store)[0]
    versions.asked_for(other).result()
    for version, waiting in ((store.champion("tiny"), 1.5), (other, 0.25)):
        predictor = versions.held(version)
        assert predictor
        assert predictor.num_batches == 0
        # what waits is gone before it can be counted
        monkeypatch.setattr(predictor, "_batchers", {"generate": SimpleNamespace(num_pending=waiting)})

    assert versions.num_batches == 1.75


def test_a_pinned_version_follows_nobody(store: Store, threads: Threads) -> None:
    pinned, other, third = others(store)[:3]
    args = ServeArgs(store=store.uri, model="tiny", batch_size=4)
    versions = Versions(store, "tiny", lambda version: load(args, store, threads, version), wanted=pinned)
    store.set_champion("tiny", other)
    store.set_canary("tiny", Canary(third, 1))

    versions.look()
    versions.close()

    assert versions.chosen("any").card.version == pinned


def test_a_first_version_that_cannot_be_served_is_an_error(store: Store, threads: Threads) -> None:
    damage(store, store.champion("tiny"))
    args = ServeArgs(store=store.uri, model="tiny")

    with pytest.raises(BundleError, match="altered"):
        Versions(store, "tiny", lambda version: load(args, store, threads, version))


def test_a_canary_is_a_version_with_a_share(store: Store) -> None:
    version = others(store)[0]

    assert store.canary("tiny") is None
    store.set_canary("tiny", Canary(version, 0.1))
    assert store.canary("tiny") == Canary(version, 0.1)
    with pytest.raises(StoreError, match=r"share: 1\.5 is not between 0 and 1"):
        store.set_canary("tiny", Canary(version, 1.5))
    with pytest.raises(StoreError, match="is the champion of tiny"):
        store.set_canary("tiny", Canary(store.champion("tiny"), 0.1))
    with pytest.raises(StoreError, match="has no version"):
        store.set_canary("tiny", Canary("20260101-000000-00000000", 0.1))
    (Path(store.uri) / "tiny" / "canary").write_text("one two three")
    with pytest.raises(StoreError, match="canary is damaged; set the canary again"):
        store.canary("tiny")


def test_a_replica_that_starts_while_the_champion_is_damaged_serves_the_one_before_it(
    store: Store, threads: Threads
) -> None:
    first, damaged = store.champion("tiny"), others(store)[0]
    store.set_champion("tiny", damaged)
    damage(store, damaged)

    begun = Versions(
        store, "tiny", lambda version: load(ServeArgs(store=store.uri, model="tiny"), store, threads, version)
    )
    begun.close()

    assert begun.champion.card.version == first
    assert begun.complaints == (f"{damaged} cannot be served: it is damaged or foreign",)


def test_a_version_that_was_asked_for_by_name_has_no_other_in_its_place(store: Store, threads: Threads) -> None:
    damaged = others(store)[0]
    damage(store, damaged)

    def loaded(version: str) -> Predictor:
        return load(ServeArgs(store=store.uri, model="tiny"), store, threads, version)

    with pytest.raises(BundleError):
        Versions(store, "tiny", loaded, wanted=damaged)


def test_a_version_that_copies_answers_nobody_who_names_it_and_is_logged_once(
    session: httpx.Client, store: Store, copying: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = {refused(session.post("/generate", json={}, headers={"X-Rayology-Version": copying}), 403) for _ in range(3)}

    assert len(said) == 1
    assert "X-Rayology-Version: this version is not served, for it copies training images: leave" in said.pop()
    refused(session.get("/", headers={"X-Rayology-Version": copying}), 403)
    (error,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert f"{copying} is not served: " in error.getMessage()
    assert "copies is 50 %, more than 20 %" in caplog.text
    assert served(session) == store.champion("tiny")


def test_a_version_whose_copies_nobody_counted_answers_nobody(
    session: httpx.Client, store: Store, bundles: list[Bundle], tmp_path: Path
) -> None:
    unmeasured = published(store, bundles[0], tmp_path, {})

    said = refused(session.post("/generate", json={}, headers={"X-Rayology-Version": unmeasured}), 403)

    assert "is not served, for nobody measured whether it copies training images" in said


@pytest.mark.parametrize("role", ["champion", "canary"])
def test_a_version_that_copies_is_not_served_whatever_the_store_says(
    versions: Versions, store: Store, copying: str, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = store.champion("tiny")
    (Path(store.uri) / "tiny" / role).write_text({"champion": copying, "canary": f"{copying} 1"}[role])

    for _ in range(3):
        versions.look()

    assert versions.chosen("any").card.version == first
    assert versions.complaints == (f"{copying} cannot be served: it copies training images",)
    assert sum("copies is 50 %" in message for message in caplog.messages) == 1
    with pytest.raises(RefusedByGate):
        versions.asked_for(copying)


def test_a_replica_that_starts_while_the_champion_copies_serves_the_one_before_it_or_nothing(
    store: Store, threads: Threads, copying: str
) -> None:
    def loaded(version: str) -> Predictor:
        return load(ServeArgs(store=store.uri, model="tiny"), store, threads, version)

    first = store.champion("tiny")
    store.set_champion("tiny", copying)
    begun = Versions(store, "tiny", loaded)
    begun.close()

    assert begun.champion.card.version == first
    assert begun.complaints == (f"{copying} cannot be served: it copies training images",)
    with pytest.raises(RefusedByGate, match="so it is neither promoted nor served"):
        Versions(store, "tiny", loaded, wanted=copying)


def test_a_champion_that_was_deleted_goes_on_and_operators_learn_of_it(
    versions: Versions, store: Store, session: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    champion = store.champion("tiny")
    folder = store.fetch("tiny", champion)
    folder.rename(tmp_path / "elsewhere")

    for _ in range(3):
        versions.look()

    assert served(session) == champion
    said = f"{champion} is no longer in the store: name another, or restore it"
    assert refused(session.get("/readyz"), 503) == said
    assert sum(said in message for message in caplog.messages) == 1
    (tmp_path / "elsewhere").rename(folder)
    versions.look()
    assert session.get("/readyz").json() == {"status": "ok"}


def test_a_replica_that_starts_while_the_champion_is_away_serves_the_one_before_it_until_it_is_back(
    store: Store, threads: Threads, tmp_path: Path
) -> None:
    first, champion = store.champion("tiny"), others(store)[0]
    store.set_champion("tiny", champion)
    folder = store.fetch("tiny", champion)
    folder.rename(tmp_path / "elsewhere")

    begun = Versions(
        store, "tiny", lambda version: load(ServeArgs(store=store.uri, model="tiny"), store, threads, version)
    )
    assert (begun.champion.card.version, [*begun.complaints]) == (
        first,
        [f"{champion} cannot be served: it is not in the store"],
    )
    (tmp_path / "elsewhere").rename(folder)
    begun.look()
    begun.close()

    assert (begun.champion.card.version, begun.complaints) == (champion, ())


def test_a_store_that_cannot_be_reached_says_nothing_of_one_version(
    versions: Versions, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: str) -> None:
        raise StoreError("away")

    monkeypatch.setattr(store, "require", away)  # a folder is always reached

    versions.look()

    assert versions.complaints == ()


def test_a_version_that_does_not_fit_the_arguments_is_told_from_a_damaged_one(store: Store, threads: Threads) -> None:
    def loading(version: str) -> Predictor:
        if version != first:
            raise ConfigError("max_body_mb: too small")
        return load(ServeArgs(store=store.uri, model="tiny"), store, threads, version)

    first, other = store.champion("tiny"), others(store)[0]
    versions = Versions(store, "tiny", loading)
    store.set_champion("tiny", other)

    for _ in range(2):
        versions.look()
    versions.close()

    assert versions.complaints == (f"{other} cannot be served: it does not fit the server's arguments",)
