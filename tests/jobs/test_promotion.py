"""The jobs that publish, promote and look at models: what they say, and what they leave in the store."""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from tests.training.untrained import ranked, untrained

from rayology.bundle import Bundle
from rayology.commands import tune
from rayology.data import PreparedDataset
from rayology.errors import SearchError
from rayology.experiment import Experiment
from rayology.metrics import class_accuracy
from rayology.search.journal import Trial
from rayology.search.marks import dimensions
from rayology.search.results import SweepResult, promote_best
from rayology.search.space import Space
from rayology.store import Store
from rayology.training import evaluation

RunJob = Callable[..., "CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compare few images on one thread: several wait for each other many times as long as they work."""
    monkeypatch.setattr(evaluation, "MOST_FULL", 6)  # a constant; the similarity of many images takes seconds
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pair(small: Experiment, data: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two bundles, the better one first."""
    return ranked(tmp_path_factory.mktemp("ranked"), small, data)


@pytest.fixture
def places(tmp_path: Path, small: Experiment) -> list[str]:
    """The flags that say where everything lies, in a folder whose name a shell would cut."""
    return ["--store", str(tmp_path / "my store"), "--storage", str(small.storage)]


def answer(ended: "CompletedProcess[str]") -> dict[str, object]:
    assert ended.returncode == 0, ended.stderr
    found: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_a_better_bundle_that_is_published_becomes_the_champion(
    run_job: RunJob, pair: list[Bundle], places: list[str]
) -> None:
    better, worse = (["--bundle", str(bundle.path)] for bundle in pair)

    first = answer(run_job("publish.py", *worse, *places))
    second = answer(run_job("publish.py", *better, *places))
    again = answer(run_job("publish.py", *better, *places))

    assert (first["verdict"], second["verdict"], again["verdict"]) == ("first", "better", "same")
    assert second["champion"] == second["version"] == again["version"]
    assert (second["name"], second["before"], second["promoted"]) == ("small", first["version"], True)
    assert Store(places[1]).versions("small") == sorted([str(first["version"]), str(second["version"])])


def test_a_worse_bundle_is_published_and_the_command_that_promotes_it_is_said(
    run_job: RunJob, pair: list[Bundle], places: list[str]
) -> None:
    better, worse = (["--bundle", str(bundle.path)] for bundle in pair)
    champion = answer(run_job("publish.py", *better, *places))["version"]

    ended = run_job("publish.py", *worse, *places)
    _, _, command = ended.stderr.strip().rpartition("anyway: ")
    program, name, *flags = shlex.split(command)

    assert ended.returncode == 2
    assert "worse by" in ended.stderr
    assert Store(places[1]).champion("small") == champion
    assert program == "rayology"
    promoted = answer(run_job(f"{name}.py", *flags))
    assert (promoted["before"], promoted["promoted"]) == (champion, True)


def test_a_storage_that_is_not_there_is_refused_and_not_made(
    run_job: RunJob, pair: list[Bundle], tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"

    ended = run_job("publish.py", "--bundle", str(pair[0].path), "--storage", str(nowhere))

    assert ended.returncode == 2
    assert "storage: there is no" in ended.stderr
    assert not nowhere.exists()


def test_a_bundle_that_copies_is_not_even_published(
    run_job: RunJob, small: Experiment, data: PreparedDataset, places: list[str], tmp_path: Path
) -> None:
    bundle = untrained(tmp_path / "bundle", small, data, metrics={"copies": 0.5})

    ended = run_job("publish.py", "--bundle", bundle.path, *places, "--force")

    assert ended.returncode == 2
    assert "copies is 50 %, more than 20 %, so it is neither promoted nor served" in ended.stderr
    assert "Nothing was published: --force does not overrule a gate, --no-promote stores the bundle" in ended.stderr
    assert Store(places[1]).models() == []


def test_a_canary_passes_the_gates_of_a_promotion_and_is_whole(
    run_job: RunJob, pair: list[Bundle], copies: list[Bundle], places: list[str]
) -> None:
    store = Store(places[1])
    refused, damaged, champion = (store.publish(bundle) for bundle in (copies[0], *pair))
    (store.fetch("small", damaged) / "weights.safetensors").write_bytes(b"damage")

    def tried(version: str) -> str:
        ended = run_job("models.py", "--action", "canary", "--version", version, "--share", "0.9", *places)
        assert ended.returncode == 2
        return ended.stderr

    assert "small has no champion; promote one of its 3 versions" in tried(refused)
    store.set_champion("small", champion)
    assert "copies is 90 %, more than 20 %, so it is neither promoted nor served" in tried(refused)
    assert "was altered since it was written; restore a copy" in tried(damaged)
    assert store.canary("small") is None


def test_a_canary_is_listed_and_shown_until_it_is_ended(run_job: RunJob, pair: list[Bundle], places: list[str]) -> None:
    store = Store(places[1])
    champion, canary = (store.publish(bundle) for bundle in pair)
    store.set_champion("small", champion)

    def models(action: str, *flags: str) -> "CompletedProcess[str]":
        return run_job("models.py", "--action", action, *flags, *places)

    begun = answer(models("canary", "--version", canary, "--share", "0.125"))
    listed, shown = models("list"), models("show")
    ended, again = (models("canary", "--share", "0") for _ in range(2))

    running = {"version": canary, "share": 0.125}
    assert (begun["champion"], begun["canary"]) == (champion, running)
    assert answer(listed)["models"] == {
        "small": {"champion": champion, "canary": running, "versions": sorted([champion, canary])}
    }
    assert answer(shown)["canary"] == running
    assert all("12.5 %" in said.stderr for said in (listed, shown))
    assert answer(ended)["canary"] is answer(again)["canary"] is None
    assert ("is ended" in ended.stderr, "there was none" in again.stderr) == (True, True)


def test_a_bundle_is_published_under_another_name_and_for_later(
    run_job: RunJob, pair: list[Bundle], places: list[str]
) -> None:
    flags = ["--bundle", str(pair[0].path), "--name", "other", "--no-promote"]

    said = answer(run_job("publish.py", *flags, *places))

    assert (said["promoted"], said["champion"], said["name"]) == (False, "", "other")
    assert Store(places[1]).versions("other") == [said["version"]]


def test_a_bundle_is_evaluated(
    run_job: RunJob, pair: list[Bundle], places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_accuracy, "STEPS", 3)  # a constant; the classifier that examines samples takes longest

    ended = run_job("evaluate.py", "--bundle", pair[0].path, *places[2:])

    figures = answer(ended)["figures"]
    assert isinstance(figures, dict)
    assert {"mmd", "psnr"} <= figures.keys()
    assert "mmd" in ended.stderr


def test_models_are_listed_shown_compared_and_rolled_back(
    run_job: RunJob, pair: list[Bundle], places: list[str]
) -> None:
    store = Store(places[1])
    better, worse = (store.publish(bundle) for bundle in pair)
    store.publish(pair[0], "other")
    for version in (worse, better):
        store.set_champion("small", version)

    def models(action: str, *flags: str) -> "CompletedProcess[str]":
        return run_job("models.py", "--action", action, *flags, *places)

    all_listed, one_listed = models("list"), models("list", "--name", "small")
    shown = models("show", "--name", "small")
    compared = models("compare", "--name", "small", "--version", worse)
    unnamed = models("rollback")
    rolled_back = models("rollback", "--name", "small")

    assert answer(all_listed)["models"] == {
        "other": {"champion": None, "canary": None, "versions": [better]},
        "small": {"champion": better, "canary": None, "versions": sorted([better, worse])},
    }
    assert list(answer(one_listed)["models"]) == ["small"]  # type: ignore[call-overload] # JSON
    assert better in one_listed.stderr
    assert answer(shown)["version"] == better
    assert "mmd" in shown.stderr
    assert answer(compared)["verdict"] == "worse"
    assert f"of {better} on 6 unseen images" in " ".join(compared.stderr.split())
    assert (unnamed.returncode, "name one of: other, small" in unnamed.stderr) == (2, True)
    assert answer(rolled_back)["champion"] == worse == store.champion("small")


def test_what_cannot_be_compared_is_not(run_job: RunJob, pair: list[Bundle], places: list[str], tmp_path: Path) -> None:
    store = Store(places[1])
    better, worse = (store.publish(bundle) for bundle in pair)
    versions = ["--version", better, "--other", worse]

    ended = run_job("models.py", "--action", "compare", *places[:2], "--storage", tmp_path, *versions)

    assert ended.returncode == 2
    assert "name its storage with --storage" in ended.stderr


def test_a_damaged_version_hides_no_other(run_job: RunJob, pair: list[Bundle], places: list[str]) -> None:
    store = Store(places[1])
    whole, damaged = (store.publish(bundle) for bundle in pair)
    (store.fetch("small", damaged) / "bundle.json").write_text("{")

    listed = run_job("models.py", *places)

    assert answer(listed)
    assert whole in listed.stderr
    assert "damaged" in listed.stderr


def test_a_damaged_canary_hides_no_version(run_job: RunJob, pair: list[Bundle], places: list[str]) -> None:
    store = Store(places[1])
    version = store.publish(pair[0])
    store.set_champion("small", version)
    (Path(store.uri) / "small" / "canary").write_bytes(b"\xff")

    for action in ("list", "show"):
        said = run_job("models.py", "--action", action, *places)
        assert answer(said)
        assert version in said.stderr
        assert "set it again, or end it" in " ".join(said.stderr.split())


@pytest.mark.parametrize("weights", [b"damage", None], ids=["damaged", "copies"])
def test_nobody_rolls_back_to_what_servers_refuse(
    run_job: RunJob, pair: list[Bundle], copies: list[Bundle], places: list[str], weights: bytes | None
) -> None:
    store = Store(places[1])
    champion, before = store.publish(pair[0]), store.publish(pair[1] if weights else copies[0])
    for version in (before, champion):
        store.set_champion("small", version)
    if weights:
        (store.fetch("small", before) / "weights.safetensors").write_bytes(weights)

    ended = run_job("models.py", "--action", "rollback", *places)

    assert ended.returncode == 2
    assert ("was altered" if weights else "copies is 90 %") in ended.stderr
    assert store.champions("small") == [champion, before]


def swept(experiment: Experiment, *bundles: Bundle) -> SweepResult:
    """Return a sweep whose trials left bundles, the first the best."""
    folder = experiment.storage / "sweeps" / "one"
    trials = [Trial(number, {}, seed=0, losses=(float(number),), outcome="finished") for number in range(len(bundles))]
    for trial, bundle in zip(trials, bundles, strict=True):
        shutil.copytree(bundle.path, folder / "trials" / trial.name / "bundle")
    return SweepResult(folder, experiment, Space(dimensions(experiment)), tuple(trials))


@pytest.fixture
def sweep(small: Experiment, data: PreparedDataset, tmp_path: Path) -> Experiment:
    """An experiment with a store of its own beside the small dataset."""
    (tmp_path / "datasets").symlink_to(data.path.parent)
    return small.model_copy(update={"storage": tmp_path})


@pytest.fixture
def copies(sweep: Experiment, data: PreparedDataset, tmp_path: Path) -> list[Bundle]:
    """Two models that copy their training images."""
    return [
        untrained(tmp_path / f"{seed}" / "bundle", sweep, data, seed=seed, metrics={"copies": 0.9}) for seed in (1, 2)
    ]


def test_a_trial_that_copies_is_passed_over_and_not_published(
    sweep: Experiment, data: PreparedDataset, copies: list[Bundle], tmp_path: Path
) -> None:
    fair = untrained(tmp_path / "fair" / "bundle", sweep, data, seed=3)

    found = swept(sweep, *copies, fair)
    best = [promote_best(found) for _ in range(3)][-1]

    assert best.bundle.manifest.provenance == fair.manifest.provenance
    assert Store(str(tmp_path / "store")).versions("small") == [best.promotion.version]


def test_a_sweep_all_of_whose_trials_copy_ends_with_an_error_and_publishes_none(
    sweep: Experiment, copies: list[Bundle], tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=r"trial-0000: copies is 90 %, more than 20 %.*; trial-0001: copies is 90 %"):
        promote_best(swept(sweep, *copies))

    assert Store(str(tmp_path / "store")).models() == []


def test_a_sweep_that_found_nothing_better_ends_well_and_says_so(
    sweep: Experiment,
    data: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    better, worse = ranked(tmp_path / "runs", sweep, data)
    store = Store(str(tmp_path / "store"))
    champion = store.publish(better)
    store.set_champion("small", champion)
    found = swept(sweep, worse)
    # The sweep itself takes a Ray and minutes; what follows it is under test.
    monkeypatch.setattr(tune, "on_cluster", nullcontext)
    monkeypatch.setattr(tune, "prepared", lambda _: data)
    monkeypatch.setattr(tune, "search", lambda *_: found)

    said = tune.main(sweep)

    assert (said["promoted"], said["champion"], said["verdict"]) == (False, champion, "worse")
    assert said["version"] in store.versions("small")
    stderr = " ".join(capsys.readouterr().err.split())
    assert f"{champion} stays the champion of small" in stderr
    assert f"--version {said['version']} --force" in stderr
    assert Path(str(said["page"])).read_bytes().startswith(b"<!doctype html>")
    assert "Next: look at" in stderr
    assert f"--resume {found.folder.name} --search.num-trials 6" in stderr
