"""What sweeps leave for later ones, and what these make of it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.search.sweeps import NARROW, Killed, Sweep, by_rate, wanted

from rayology.config import Choice
from rayology.data import DatasetInfo, PreparedDataset
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.search.journal import Journal, Trial
from rayology.search.marks import dimensions, starting_points
from rayology.search.results import SweepResult
from rayology.search.space import Dimension, Point, Space
from rayology.search.warm_start import (
    MOST_RECORDS,
    Descriptors,
    PastTrial,
    Record,
    keep,
    most_similar,
    portfolio,
    recalled,
    require_known,
)
from rayology.store import Store
from rayology.training.run import Run

CT = Descriptors(fingerprint="1", size=(64, 64), channels=1, num_classes=2, modality="CT", num_images=1000)
LETTERS = Space((Dimension("model.kind", Choice(*"abcde"), default="a"),))


def record(name: str, losses: Mapping[str, float], dataset: Descriptors = CT, objective: str = "mmd") -> Record:
    """A sweep that tried each letter four times."""
    trials = [
        PastTrial(point={"model.kind": letter}, losses=(loss,), curve={9: loss}, outcome="finished")
        for letter, loss in losses.items()
    ]
    return Record(
        name=name, objectives=(objective,), steps=9, batch_size=8, space=(), dataset=dataset, trials=tuple(4 * trials)
    )


def letters(points: list[Point]) -> str:
    return "".join(str(point["model.kind"]) for point in points)


def ran(name: str, storage: Path, info: DatasetInfo, **search: object) -> Record:
    """Leave the record of a sweep."""
    experiment = wanted(sampler="random", **search).patched({"storage": str(storage)})
    folder = storage / "sweeps" / name
    Sweep(folder, experiment).run()
    found = SweepResult.read(Run(folder, experiment))
    keep(found, info)
    return Record.of(found, info)


def warm(folder: Path, experiment: Experiment, info: DatasetInfo) -> Sweep:
    run = Run(folder, experiment.patched({"storage": str(folder.parents[1])}))
    return Sweep(folder, experiment, by_sibling_rate, recall=lambda space: recalled(run, info, space))


def by_sibling_rate(trial: Trial) -> float:
    return by_rate(trial) + abs(np.log(float(trial.point["optimizer.lr"]) / 1.1e-3))


@pytest.fixture(scope="module")
def info(data: PreparedDataset) -> DatasetInfo:
    """A dataset of which much could be told."""
    image = data.info.image.model_copy(update={"classes": ("secret", "secrets")})
    return data.info.model_copy(update={"note": "secret", "source": {"path": "secret"}, "image": image})


def test_a_record_holds_a_sweep_and_nothing_that_names_a_patient_and_is_not_a_model(
    info: DatasetInfo, tmp_path: Path
) -> None:
    left = ran("lung-1", tmp_path, info, num_trials=8)

    store = Store(str(tmp_path / "store"))
    (content,) = store.records().values()
    read = Record.model_validate_json(content)
    assert read == left
    assert (read.name, read.objectives, read.dataset.num_classes) == ("lung-1", ("mmd",), 2)
    assert [trial.outcome for trial in read.trials].count("finished") >= 2
    assert {each["name"] for each in read.space} == {each.name for each in dimensions(wanted())}
    assert b"secret" not in content
    assert str(tmp_path).encode() not in content
    assert store.models() == []


def test_a_sweep_that_goes_further_leaves_one_record(info: DatasetInfo, tmp_path: Path) -> None:
    first, longer = (ran("lung-1", tmp_path, info, num_trials=count) for count in (4, 8))

    (content,) = Store(str(tmp_path / "store")).records().values()
    assert Record.model_validate_json(content) == longer
    assert len(longer.trials) > len(first.trials)


def test_points_that_complement_each_other_come_before_those_that_are_second_everywhere() -> None:
    one = record("one", {"a": 1, "c": 2, "d": 3, "e": 4, "b": 5})
    other = record("other", {"b": 1, "c": 2, "d": 3, "e": 4, "a": 5})

    found = portfolio([one, other], LETTERS, CT, 5)

    assert letters(found[:1]) == "c"
    assert sorted(letters(found[1:3])) == ["a", "b"]
    assert letters(found[3:]) == "de"
    assert portfolio([one, other], LETTERS, CT, 5) == found


def test_the_sweep_of_a_more_alike_dataset_counts_more() -> None:
    same = record("same", {"a": 1, "b": 2, "c": 3})
    unlike = record("unlike", {"c": 1, "b": 2, "a": 3}, CT.patched({"fingerprint": "2", "modality": "MR"}))

    assert letters(portfolio([unlike, same], LETTERS, CT, 1)) == "a"


def test_nothing_comes_that_the_space_of_today_does_not_hold() -> None:
    past = record("past", {"a": 1, "b": 2, "c": 3})
    today = Space((Dimension("model.kind", Choice("b", "c", "x"), default="x"),))

    assert letters(portfolio([past], today, CT, 4)) == "bc"
    assert portfolio([past], Space((Dimension("model.kind", Choice("x")),)), CT, 4) == []


def test_what_was_stopped_is_no_candidate_but_tells_of_its_like() -> None:
    past = record("past", {"a": 1})
    stopped = PastTrial(point={"model.kind": "b"}, losses=(), curve={3: 9.0}, outcome="stopped")

    found = portfolio([past.model_copy(update={"trials": (*past.trials, stopped)})], LETTERS, CT, 4)

    assert letters(found) == "a"


def test_records_of_like_datasets_come_first_and_those_that_compare_not_at_all_never() -> None:
    others: dict[str, dict[str, object]] = {
        "same": {},
        "near": {"fingerprint": "2", "num_images": 2000},
        "larger": {"fingerprint": "3", "size": (128, 128)},
        "labelled": {"fingerprint": "4", "size": (128, 128), "num_classes": 9},
        "mr": {"fingerprint": "5", "modality": "MR"},
        "volumes": {"size": (64, 64, 64)},
    }
    records = [record(name, {"a": 1}, CT.patched(patch)) for name, patch in reversed(others.items())]
    records.append(record("dice", {"a": 1}, objective="dice"))

    found = [each.name for each in most_similar(records, CT, "mmd")]

    assert found == ["same", "near", "larger", "labelled", "mr"]
    many = [record(str(number), {"a": 1}) for number in range(12)]
    assert [each.name for each in most_similar(many, CT, "mmd")] == [str(11 - number) for number in range(MOST_RECORDS)]


def test_damaged_and_foreign_records_are_skipped_and_one_line_names_them(
    info: DatasetInfo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran("good", tmp_path, info, num_trials=4)
    store = Store(str(tmp_path / "store"))
    store.keep_record("torn", store.records()["good"][:-9])
    store.keep_record("newer", store.records()["good"].replace(b'"format_version":1', b'"format_version":2'))

    with caplog.at_level(logging.INFO):
        caplog.clear()
        points = recalled(Run(tmp_path / "next", wanted().patched({"storage": str(tmp_path)})), info, SPACE)

    assert points
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[0].endswith("left out: newer, torn.") or caplog.messages[0].endswith(
        "left out: torn, newer."
    )
    assert caplog.messages[1] == f"It starts with {len(points)} points that earlier sweeps found: good."


def test_a_sweep_takes_what_it_is_told_to_but_nothing_of_itself_and_nothing_if_it_begins_cold(
    info: DatasetInfo, tmp_path: Path
) -> None:
    for name, rate in {"low": 5e-4, "high": 4e-3}.items():
        ran(name, tmp_path, info, num_trials=4, narrow={**NARROW, "optimizer.lr": (rate, rate)})

    def rates(name: str, **search: object) -> set[object]:
        run = Run(tmp_path / name, wanted(**search).patched({"storage": str(tmp_path)}))
        return {point["optimizer.lr"] for point in recalled(run, info, SPACE)}

    assert rates("next") == {5e-4, 4e-3}
    assert rates("next", warm_start=("low",)) == {5e-4}
    assert rates("low") == {4e-3}
    assert rates("next", cold=True) == rates("next", portfolio=0) == set()


def test_a_sweep_that_left_no_record_is_refused_and_those_that_did_are_named(info: DatasetInfo, tmp_path: Path) -> None:
    asked = wanted(warm_start=("lung-9",)).patched({"storage": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"search.warm_start: lung-9 left no record in the store; none did"):
        require_known(asked)

    ran("lung-1", tmp_path, info, num_trials=4)

    with pytest.raises(ConfigError, match=r"lung-9 left no record in the store; the newest that did: lung-1"):
        require_known(asked)
    require_known(asked.patched({"search": {"warm_start": ("lung-1",)}}))
    require_known(wanted())


@pytest.mark.slow
def test_a_sweep_on_a_sibling_problem_needs_fewer_trials_than_a_cold_one(info: DatasetInfo, tmp_path: Path) -> None:
    ran("first", tmp_path, info, num_trials=16)

    def needed(name: str, *, seed: int, cold: bool) -> int:
        experiment = wanted(num_trials=16, sampler="random", finalists=0, cold=cold).patched({"seed": seed})
        trials = warm(tmp_path / "sweeps" / f"{name}-{seed}", experiment, info).run()
        return next((trial.number for trial in trials if trial.losses and trial.losses[0] < 0.4), len(trials))

    cold, hot = ([needed(f"{cold}", seed=seed, cold=cold) for seed in range(3)] for cold in (True, False))

    assert max(hot) <= 4
    assert sum(hot) < sum(cold) / 2


def test_a_resumed_sweep_keeps_what_it_began_with_whatever_others_left_since(info: DatasetInfo, tmp_path: Path) -> None:
    ran("first", tmp_path, info, num_trials=8)
    experiment = wanted(num_trials=8, sampler="random")
    unbroken = warm(tmp_path / "sweeps" / "unbroken", experiment, info).run()
    with pytest.raises(Killed):
        warm(tmp_path / "sweeps" / "broken", experiment, info).run(most=1)
    ran("second", tmp_path, info, num_trials=8, narrow={**NARROW, "optimizer.lr": (1e-3, 1e-3)})

    resumed = warm(tmp_path / "sweeps" / "broken", experiment, info).run()

    assert [trial.point for trial in resumed] == [trial.point for trial in unbroken]


def test_points_of_memory_come_after_the_experiment_as_it_stands_and_before_its_other_kinds(tmp_path: Path) -> None:
    experiment = wanted(num_trials=16, sampler="random", narrow={"model.kind": ("vae", "gan")}, finalists=0)
    own, *kinds = starting_points(experiment)
    past = [{**own, "optimizer.lr": rate} for rate in (4e-4, 5e-4)]

    trials = Sweep(tmp_path, experiment, recall=lambda _: past).run()

    assert [trial.point for trial in trials][:8] == [own, *past, *kinds][:8]
    assert Journal(tmp_path).portfolio(list) == past


SPACE = Space(dimensions(wanted()))
