"""Promotion: gates first, then newcomer and champion on the same images, and nothing in silence."""

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.untrained import ranked, untrained

from rayology.bundle import Bundle, provenance_of, write_bundle
from rayology.data import PreparedDataset
from rayology.errors import BundleError, RefusedByGate, StoreError
from rayology.experiment import Experiment
from rayology.gates import refusals, require_gates
from rayology.image import ImageSpec
from rayology.metrics import METRICS, AtMost
from rayology.store import Store
from rayology.training import evaluation
from rayology.training.promotion import _weighed, admitted, compare, promote, promote_if_better

Make = Callable[..., Bundle]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MOST_FULL", 6)  # a constant; the similarity of many images takes seconds


@pytest.fixture(scope="session")
def make(small: Experiment, data: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Write a bundle of an untrained model of the small dataset."""

    def make(*, dataset: str = "", **metrics: float) -> Bundle:
        return untrained(tmp_path_factory.mktemp("made") / "bundle", small, data, dataset=dataset, metrics=metrics)

    return make


@pytest.fixture(scope="session")
def pair(small: Experiment, data: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two bundles, the better one first."""
    return ranked(tmp_path_factory.mktemp("ranked"), small, data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_better_model_takes_the_champions_place_and_says_by_how_much(
    store: Store, small: Experiment, pair: list[Bundle], caplog: pytest.LogCaptureFixture
) -> None:
    better, worse = (store.publish(bundle) for bundle in pair)
    first = promote(store, "small", worse, storage=small.storage)

    with caplog.at_level(logging.INFO, "rayology"):
        second = promote(store, "small", better, storage=small.storage)

    assert (first.before, first.comparison.verdict) == ("", "first")
    assert (second.before, second.champion, second.comparison.verdict) == (worse, better, "better")
    assert store.champion("small") == better
    said = f"of the champion {worse} on 6 unseen images (lower is better): better by "
    assert said in second.comparison.sentence
    assert said in caplog.text
    gain = second.comparison.others_figures["mmd"] - second.comparison.figures["mmd"]
    assert gain > 0
    assert f"better by {gain:.3g}" in second.comparison.sentence


def test_a_worse_model_does_not_take_the_champions_place(store: Store, small: Experiment, pair: list[Bundle]) -> None:
    better, worse = (store.publish(bundle) for bundle in pair)
    promote(store, "small", better, storage=small.storage)

    with pytest.raises(StoreError, match=rf"worse by .*{better} stays the champion.*--version {worse} --force"):
        promote(store, "small", worse, storage=small.storage)
    assert not promote_if_better(store, "small", worse, storage=small.storage).is_champion
    assert store.champion("small") == better

    promote(store, "small", worse, storage=small.storage, force=True)
    assert store.champion("small") == worse


def test_the_champion_is_told_that_it_already_is(store: Store, small: Experiment, make: Make) -> None:
    version = store.publish(make())
    promote(store, "small", version, storage=small.storage)

    again = promote(store, "small", version, storage=small.storage, force=True)

    assert again.is_champion
    assert again.comparison.sentence == "it is the champion of small already"
    with pytest.raises(StoreError, match="had no champion before"):
        store.rollback("small")


def test_an_equal_model_is_not_better(store: Store, small: Experiment, make: Make) -> None:
    first, second = (store.publish(make(extra=extra)) for extra in (1.0, 2.0))
    promote(store, "small", first, storage=small.storage)

    with pytest.raises(StoreError, match="no better"):
        promote(store, "small", second, storage=small.storage)


def test_a_model_of_another_dataset_needs_force(store: Store, small: Experiment, make: Make) -> None:
    first, second = (store.publish(make(dataset=dataset)) for dataset in ("1234", "5678"))
    promote(store, "small", first, storage=small.storage)

    with pytest.raises(StoreError, match=r"trained on dataset 5678, the other on 1234.*--force"):
        promote(store, "small", second, storage=small.storage)
    promote(store, "small", second, storage=small.storage, force=True)

    assert store.champion("small") == second


def test_bits_of_black_and_white_are_not_compared_with_those_of_stored_values(
    store: Store, small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    judged = small.patched({"search": {"objective": "bound"}})
    first, second = (
        store.publish(untrained(tmp_path / kind, judged.patched({"model": {"likelihood": {"kind": kind}}}), data))
        for kind in ("gaussian", "bernoulli")
    )
    promote(store, "small", first, storage=small.storage)

    with pytest.raises(StoreError, match="bits are those of black and white pixels, the other's those of stored"):
        promote(store, "small", second, storage=small.storage)


def test_without_the_dataset_the_storage_is_asked_for(
    store: Store, small: Experiment, pair: list[Bundle], tmp_path: Path
) -> None:
    first, second = (store.publish(bundle) for bundle in pair)
    promote(store, "small", first, storage=small.storage)

    with pytest.raises(StoreError, match=rf"there is no {tmp_path}/datasets/.*name its storage with --storage"):
        promote(store, "small", second, storage=tmp_path)


def test_a_damaged_dataset_is_no_reason_to_promote(
    store: Store, data: PreparedDataset, pair: list[Bundle], tmp_path: Path
) -> None:
    first, second = (store.publish(bundle) for bundle in pair)
    (tmp_path / "datasets" / data.info.fingerprint).mkdir(parents=True)
    promote(store, "small", first, storage=tmp_path)

    with pytest.raises(StoreError, match=r"cannot be compared with the champion .*no such file"):
        promote(store, "small", second, storage=tmp_path)


def changed(bundle: Bundle, **fields: object) -> Bundle:
    """Return a bundle that says something else of itself than its file."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update=fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"image": ImageSpec(size=(24, 24))}, r'its images are .*"size":\[16,16\].*, the other.s .*"size":\[24,24\]'),
        ({"capabilities": ("classify",)}, "it is judged by mmd, and the other cannot generate"),
    ],
)
def test_other_images_and_other_capabilities_cannot_be_compared(
    make: Make, small: Experiment, fields: dict[str, object], reason: str
) -> None:
    found = compare(make(), changed(make(), **fields), called="another", storage=small.storage)

    assert found.verdict == "incomparable"
    assert re.search(reason, found.sentence)


@pytest.mark.parametrize(
    ("experiment", "name"), [({"search": {"objective": "nosuch"}}, "nosuch"), ({"search": {}}, ""), ({}, "")]
)
def test_a_model_of_which_nobody_knows_the_objective_cannot_be_compared(
    make: Make, small: Experiment, experiment: dict[str, object], name: str
) -> None:
    found = compare(changed(make(), experiment=experiment), make(), called="another", storage=small.storage)

    assert found.verdict == "incomparable"
    assert f"its objective {name!r} is not the name of a metric" in found.sentence


def test_masks_do_not_keep_models_from_being_compared(make: Make, small: Experiment) -> None:
    masked = make().manifest.image.model_copy(update={"masks": ("lesion",)})

    found = compare(make(), changed(make(), image=masked), called="another", storage=small.storage)

    assert found.verdict == "equal"


def test_the_direction_of_the_objective_counts(small: Experiment, data: PreparedDataset, tmp_path: Path) -> None:
    by_psnr = ranked(tmp_path, small, data, by="psnr")
    worse, better = (changed(bundle, experiment={"search": {"objective": "psnr"}}) for bundle in by_psnr)

    found = compare(better, worse, called="another", storage=small.storage)

    assert found.verdict == "better"
    assert "(higher is better): better by" in found.sentence
    assert found.figures["psnr"] > found.others_figures["psnr"]


@pytest.mark.parametrize(
    ("figures", "others", "said"),
    [
        ({"mmd/low": 0.5, "mmd/high": 1.5}, {"mmd/low": 1.4, "mmd/high": 2.6}, True),
        ({"mmd/low": 0.5, "mmd/high": 1.3}, {"mmd/low": 1.4, "mmd/high": 2.6}, False),
        ({"mmd/low": 0.5, "mmd/high": 1.5}, {}, False),
    ],
)
def test_intervals_that_overlap_are_mentioned(
    figures: dict[str, float],
    others: dict[str, float],
    said: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    found = _weighed(METRICS["mmd"], {"mmd": 1.0, **figures}, {"mmd": 2.0, **others}, called="another", num_images=9)

    assert found.verdict == "better"
    assert found.sentence.endswith("better by 1" + ", though the 95 % intervals overlap" * said)


def test_a_model_that_draws_no_numbers_cannot_be_compared(
    make: Make, small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    model = small.model.build(data.info.image)
    for weight in model.parameters():
        torch.nn.init.constant_(weight, float("nan"))
    origin = provenance_of(dataset=data.info.fingerprint, note="", seed=0, steps=1)
    broken = write_bundle(tmp_path / "nan", experiment=small, model=model, metrics={"copies": 0.0}, provenance=origin)

    found = compare(broken, make(), called="another", storage=small.storage)

    assert found.verdict == "incomparable"
    assert "not finite" in found.sentence


def test_a_model_that_copies_is_refused_whatever_is_asked(store: Store, small: Experiment, make: Make) -> None:
    version = store.publish(make(copies=0.21))

    with pytest.raises(
        StoreError, match=r"copies is 21 %, more than 20 %, so it is neither promoted nor served: .*training images"
    ):
        promote(store, "small", version, storage=small.storage, force=True)
    assert store.champion_or_none("small") is None


def test_a_model_whose_copies_nobody_counted_is_refused(make: Make) -> None:
    (refusal,) = refusals(changed(make(), metrics={}).manifest)

    assert "has no figure 'copies'" in refusal


def test_a_figure_that_is_not_a_number_passes_no_gate(make: Make) -> None:
    assert refusals(changed(make(), metrics={"copies": float("nan")}).manifest)
    assert not refusals(make().manifest)


def test_a_gate_is_for_those_who_can_do_what_it_is_about(make: Make) -> None:
    assert refusals(changed(make(), capabilities=("classify",), metrics={}).manifest) == []


def test_a_gate_is_a_value_of_its_metric(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "mmd", replace(METRICS["mmd"], gate=AtMost(0.5, fault="blurs"), advice="train longer"))

    (refusal,) = refusals(make(mmd=0.75).manifest)

    assert refusal == "mmd is 0.75, more than 0.5, so it is neither promoted nor served: train longer"
    with pytest.raises(RefusedByGate) as refused:
        require_gates(make(mmd=0.75, copies=0.5))
    assert refused.value.fault == "it blurs and it copies training images"


def test_a_damaged_version_is_not_promoted(store: Store, small: Experiment, make: Make) -> None:
    version = store.publish(make())
    (store.fetch("small", version) / "weights.safetensors").write_bytes(b"damage")

    with pytest.raises(BundleError, match="was altered"):
        promote(store, "small", version, storage=small.storage, force=True)
    with pytest.raises(BundleError, match="was altered"):
        admitted(store, "small", version)


def test_a_damaged_champion_gives_way_when_it_is_asked_to(store: Store, small: Experiment, pair: list[Bundle]) -> None:
    better, worse = (store.publish(bundle) for bundle in pair)
    promote(store, "small", worse, storage=small.storage)
    (store.fetch("small", worse) / "weights.safetensors").unlink()

    with pytest.raises(StoreError, match=rf"the champion {worse}: .*weights.safetensors: is missing.*--force"):
        promote(store, "small", better, storage=small.storage)
    promote(store, "small", better, storage=small.storage, force=True)

    assert store.champion("small") == better


def test_a_store_of_before_compares_promotes_and_rolls_back(
    store: Store, small: Experiment, pair: list[Bundle]
) -> None:
    better, worse = (store.publish(bundle) for bundle in pair)
    root = Path(store.uri)
    for version in (better, worse):
        shutil.move(root / "small" / version, root / version)
    (root / "champion").write_text(worse)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    promotion = promote(Store(store.uri), "small", better, storage=small.storage)

    assert (promotion.before, promotion.comparison.verdict) == (worse, "better")
    assert Store(store.uri).champion("small") == better
    assert Store(store.uri).rollback("small") == worse
    assert {path: path.read_bytes() for path in before} == before
