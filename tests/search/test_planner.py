"""What a sweep does next, on trials that take no time."""

import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from tests.search.sweeps import NARROW, ONE_POINT, STEPS, Killed, Sweep, noise, wanted

from rayology.errors import ConfigError, SearchError
from rayology.search import planner
from rayology.search.finalists import num_repeated
from rayology.search.journal import JOURNAL, LOCK, Journal, Trial
from rayology.search.marks import dimensions, starting_points
from rayology.search.planner import Planner, Rest
from rayology.search.ranking import history
from rayology.search.results import SweepResult
from rayology.search.space import Point, Space
from rayology.training.run import Run


def told(trials: list[Trial]) -> list[object]:
    return [(each.point, each.seed, each.outcome, each.losses, each.curve) for each in trials]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_a_driver_that_is_killed_again_and_again_ends_as_if_it_had_not_been(sampler: str, tmp_path: Path) -> None:
    experiment = wanted(sampler=sampler)
    unbroken = Sweep(tmp_path / "unbroken", experiment).run()
    generator, broken = np.random.default_rng(0), Sweep(tmp_path / "broken", experiment)
    num_killed, trials = 0, list[Trial]()
    while not trials:
        try:
            trials = broken.run(most=int(generator.integers(1, 9)))
        except Killed:
            num_killed += 1

    assert num_killed >= 10
    assert told(trials) == told(unbroken)
    assert len(broken.taken) == len(set(broken.taken)), "an evaluation was made twice"


def test_nothing_is_lost_between_any_two_lines_of_the_journal_nor_by_a_torn_one(tmp_path: Path) -> None:
    experiment = wanted(num_trials=3, sampler="random", finalists=0)
    unbroken = Sweep(tmp_path / "whole", experiment).run()
    lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)

    for kept in range(2, len(lines), 3):
        torn = Sweep(tmp_path / "torn_", experiment)
        (torn.folder / JOURNAL).write_bytes(b"".join(lines[:kept]).replace(b"whole", b"torn_") + lines[kept][:7])
        (torn.folder / (JOURNAL + LOCK)).symlink_to(JOURNAL)

        assert told(torn.run()) == told(unbroken), f"after {kept} lines"
        shutil.rmtree(torn.folder)


def test_a_sweep_spends_its_budget_and_trains_its_finalists_with_seeds_of_their_own(tmp_path: Path) -> None:
    experiment = wanted(num_trials=16)

    trials = Sweep(tmp_path, experiment).run()

    repeats = [trial for trial in trials if trial.repeats is not None]
    assert num_repeated(experiment.search) == (2, 2)
    assert (len(trials), len(repeats)) == (16, 4)
    assert len({trial.seed for trial in trials}) == 1 + len(repeats)
    assert all(trial.point == trials[trial.repeats or 0].point for trial in repeats)
    assert all(trial.outcome == "finished" for trial in repeats)


def test_a_sweep_of_which_few_trials_finish_trains_these_the_more_often(tmp_path: Path) -> None:
    def worse_and_worse(trial: Trial) -> float:  # but for the second, so that all others are stopped
        return float({0: 1, 1: 0}.get(trial.number, trial.number) if trial.repeats is None else trial.repeats)

    trials = Sweep(tmp_path, wanted(num_trials=40, sampler="random"), worse_and_worse).run()

    assert num_repeated(wanted(num_trials=40).search) == (5, 2)
    assert [trial.number for trial in trials if trial.repeats is None and trial.losses] == [0, 1]
    assert [trial.repeats for trial in trials if trial.repeats is not None] == [1, 0] * 5


@pytest.mark.slow
def test_a_search_of_pure_noise_declares_nobody_the_winner(tmp_path: Path) -> None:
    sweeps = [
        Sweep(tmp_path / f"{seed}", wanted(num_trials=24, sampler="random").patched({"seed": seed}), noise)
        for seed in range(4)
    ]
    for sweep in sweeps:
        sweep.run()

    found = [SweepResult.read(Run(sweep.folder, sweep.experiment)) for sweep in sweeps]

    assert not any(each.is_told_apart for each in found)
    assert all("they are not told apart" in each.verdict for each in found)


@pytest.mark.parametrize(
    ("search", "most"),
    [
        ({"target": 1e9}, 1),
        ({"worker_hours": 8 / 3600 / 0.75}, 8),
        ({"terminate": True, "narrow": ONE_POINT, "grace_steps": STEPS}, 28),
    ],
)
def test_each_budget_ends_the_search_and_then_the_finalists_run(
    search: dict[str, object], most: int, tmp_path: Path
) -> None:
    experiment = wanted(num_trials=40, sampler="random", **search)

    trials = Sweep(tmp_path, experiment, noise).run()

    explored = [trial for trial in trials if trial.repeats is None]
    assert len(explored) <= most
    assert all(trial.outcome for trial in trials)
    assert (len(trials) > len(explored)) == (num_repeated(experiment.search, len(explored))[0] > 0)


def test_who_is_a_finalist_whatever_the_last_trial_comes_to_does_not_wait_for_it(tmp_path: Path) -> None:
    experiment = wanted(num_trials=16, sampler="random")  # 12 to explore, then 2 finalists twice
    space, journal = Space(dimensions(experiment)), Journal(tmp_path)
    sweep = Planner(experiment, space, journal)

    def begun() -> Trial:
        trial = sweep.next()
        assert isinstance(trial, Trial)
        return trial

    for number in range(11):
        journal.end(begun().number, "finished", [float(number)])
    last = begun()
    early = begun()

    assert (last.repeats, early.repeats) == (None, 0)
    assert sweep.next() == Rest.WAIT  # who comes second hangs on the last
    journal.end(early.number, "finished", [0.0])
    assert sweep.next() == Rest.WAIT
    journal.end(last.number, "finished", [-1.0])
    assert [begun().repeats for _ in range(3)] == [last.number, last.number, 0]
    assert sweep.next() == Rest.DONE


def test_a_sweep_that_is_finished_early_runs_its_finalists_and_ends(tmp_path: Path) -> None:
    experiment = wanted(num_trials=40, sampler="random")
    with pytest.raises(Killed):
        Sweep(tmp_path, experiment).run(most=60)
    begun = len(Journal(tmp_path).trials())

    trials = Sweep(tmp_path, experiment.patched({"search": {"finish": True}})).run()

    repeats = [trial for trial in trials if trial.repeats is not None]
    assert begun < 30
    assert len(trials) - len(repeats) == begun
    assert len(repeats) >= 2


def test_every_trial_lies_in_the_space_that_is_narrowed_and_has_all_that_is_open(tmp_path: Path) -> None:
    experiment = wanted(narrow={"model.*.width": (128,), "model.generator.kind": ("dense",)})
    space = Space(dimensions(experiment))

    trials = Sweep(tmp_path, experiment.patched({"search": {"sampler": "random"}})).run()

    for trial in trials:
        assert trial.point == space.admitted(trial.point)


def test_a_resumed_sweep_may_get_more_trials(tmp_path: Path) -> None:
    first = Sweep(tmp_path, wanted(num_trials=8, sampler="random")).run()

    longer = Sweep(tmp_path, wanted(num_trials=16, sampler="random")).run()

    assert told(longer)[: len(first)] == told(first)
    assert len([trial for trial in longer if trial.repeats is None]) == 12


def test_what_breaks_a_constraint_is_rejected_before_it_trains_and_costs_nothing(tmp_path: Path) -> None:
    def too_fast(point: Point) -> Mapping[str, float]:
        return {"slow": 1.0} if float(point["optimizer.lr"]) > 2e-3 else {}

    sweep = Sweep(tmp_path / "some", wanted(sampler="random"), violations=too_fast)
    trials = sweep.run()

    rejected = [trial for trial in trials if trial.outcome == "rejected"]
    backend = optuna.storages.journal.JournalFileBackend(str(sweep.folder / JOURNAL))
    study = optuna.load_study(study_name="some", storage=optuna.storages.JournalStorage(backend))
    assert rejected
    assert not any(trial.curve for trial in rejected)
    assert len(trials) - len(rejected) == 16
    assert study.trials[rejected[0].number].constraints == rejected[0].violations == {"slow": 1.0}


def test_a_constraint_that_nothing_keeps_ends_the_sweep_and_says_what_to_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MOST_REJECTED", 12)
    sweep = Sweep(tmp_path, wanted(sampler="random"), violations=lambda _: {"max_parameters": 1.0})

    with pytest.raises(
        SearchError,
        match=r"none of 12 models in a row keeps to search.max_parameters \(the nearest is over by 1\); start",
    ):
        sweep.run()
    with pytest.raises(SearchError, match=r"keeps to search\.max_parameters"):
        sweep.run()  # resumed


def over_after(count: int) -> Callable[[Point], Mapping[str, float]]:
    """Return what finds so many points within the limit, and those after them over it."""
    tried: list[Point] = []

    def over(point: Point) -> Mapping[str, float]:
        tried.append(point)
        return {"max_parameters": 1.0} if len(tried) > count else {}

    return over


def test_a_sweep_that_finds_nothing_more_within_its_limits_ends_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MOST_REJECTED", 12)
    trials = Sweep(tmp_path, wanted(sampler="random"), violations=over_after(6)).run()

    assert [trial.outcome for trial in trials].count("rejected") == 12
    assert any(trial.repeats is not None for trial in trials)


def test_a_sweep_that_finds_nothing_more_waits_for_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(planner, "MOST_REJECTED", 12)
    experiment = wanted(sampler="random")
    space, journal = Space(dimensions(experiment)), Journal(tmp_path)
    running = Planner(experiment, space, journal, violations=over_after(1))
    first = running.next()
    assert isinstance(first, Trial)

    assert [running.next() for _ in range(3)] == [Rest.WAIT] * 3
    assert len(journal.trials()) == 1 + 12
    journal.end(first.number, "finished", [1.0])
    assert isinstance(running.next(), Trial | Rest)
    assert len(journal.trials()) <= 1 + 12 + 1
    assert sum("The search ends" in message for message in caplog.messages) == 1


def test_a_trial_is_stopped_by_those_of_its_kind_alone(tmp_path: Path) -> None:
    experiment = wanted(narrow={"model.kind": ["vae", "gan"]})
    space, journal = Space(dimensions(experiment)), Journal(tmp_path)
    sweep = Planner(experiment, space, journal)
    points = [starting_points(experiment)[0] | {"model.kind": kind} for kind in ("vae", "vae", "gan")]
    trials = [journal.begin(space, space.admitted(point) or {}, seed=0) for point in points]
    for trial, loss in zip(trials, (1.0, 2.0, 3.0), strict=True):
        journal.report(trial.number, 25, loss)

    assert [sweep.is_behind(journal.trial(trial.number)) for trial in trials] == [False, True, False]


def test_hours_count_for_trials_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = wanted(sampler="random", finalists=0, worker_hours=1.0)
    space, journal = Space(dimensions(experiment)), Journal(tmp_path)
    now = iter(range(0, 3600 * 100, 900))  # a quarter of an hour between any two looks at the clock
    monkeypatch.setattr(planner, "time", SimpleNamespace(monotonic=lambda: next(now)))
    running = Planner(experiment, space, journal)

    begun = list(itertools.takewhile(lambda trial: isinstance(trial, Trial), (running.next() for _ in range(9))))

    assert 0 < len(begun) < 4


def test_a_model_that_breaks_a_constraint_is_not_trained_by_the_driver_that_comes_after(tmp_path: Path) -> None:
    experiment = wanted(sampler="random")
    space, journal = Space(dimensions(experiment)), Journal(tmp_path)
    left = journal.begin(space, space.draw(np.random.default_rng(0)), seed=0)  # it was killed before it rejected this

    begun = Planner(
        experiment, space, journal, violations=lambda point: {"slow": 1.0} if point == left.point else {}
    ).next()

    assert isinstance(begun, Trial)
    assert begun.number != left.number
    assert journal.trial(left.number).outcome == "rejected"


def test_a_finalist_is_trained_again_even_if_its_time_is_measured_anew(tmp_path: Path) -> None:
    experiment = wanted(num_trials=16, sampler="random")
    space, journal = Space(dimensions(experiment)), Journal(tmp_path)
    point = space.draw(np.random.default_rng(0))
    journal.end(journal.begin(space, point, seed=0).number, "finished", [1.0])
    left = journal.begin(space, point, seed=7, repeats=0)

    assert Planner(experiment, space, journal, violations=lambda _: {"max_ms_per_image": 1e-3}).next() == left


def test_without_finalists_all_hours_are_for_the_search(tmp_path: Path) -> None:
    experiment = wanted(num_trials=40, sampler="random", finalists=0, worker_hours=8 / 3600)

    trials = Sweep(tmp_path, experiment, noise).run()

    assert sum(trial.seconds for trial in trials) == 8


def test_of_several_objectives_nobody_is_a_finalist_while_a_trial_runs(tmp_path: Path) -> None:
    experiment = wanted(num_trials=16, sampler="random", tradeoffs=["parameters"])
    space, journal = Space(dimensions(experiment)), Journal(tmp_path, num_objectives=2)
    sweep = Planner(experiment, space, journal)
    begun = [sweep.next() for _ in range(12)]
    for number, trial in enumerate(begun[:-1]):
        assert isinstance(trial, Trial)
        journal.end(trial.number, "finished", [float(number), float(-number)])

    assert sweep.next() == Rest.WAIT


def test_a_sweep_whose_folder_was_renamed_keeps_its_trials(tmp_path: Path) -> None:
    trials = Sweep(tmp_path / "before", wanted(num_trials=4, sampler="random")).run()

    (tmp_path / "before").rename(tmp_path / "after")

    assert told(Journal(tmp_path / "after").trials()) == told(trials)


def test_equal_losses_count_alike_among_several_objectives() -> None:
    trials = [Trial(number, {}, 0, losses=(1.0, 5.0), outcome="finished") for number in range(4)]

    _, losses = history(trials, np.random.default_rng(0))

    assert len(set(losses)) == 1


def test_a_trial_that_failed_is_not_counted_by_the_driver_that_comes_after(tmp_path: Path) -> None:
    experiment = wanted(num_trials=4, finalists=0)
    journal = Journal(tmp_path)
    planner = Planner(experiment, journal.pinned(Space(dimensions(experiment))), journal)
    while not isinstance(trial := planner.next(), Rest):
        journal.end(trial.number, "failed")

    trials = Sweep(tmp_path, experiment).run()

    assert [trial.outcome for trial in trials[:4]] == ["failed"] * 4
    assert len(trials) == 8
    assert trials[4].point == trials[0].point, "the experiment as it stands was not tried again"


def test_a_sweep_keeps_the_space_that_it_began_with(tmp_path: Path) -> None:
    narrow = {**NARROW, "optimizer.lr": (1e-3, 2e-3)}
    first = Journal(tmp_path).pinned(Space(dimensions(wanted(narrow=narrow))))

    again = Journal(tmp_path).pinned(Space(dimensions(wanted())))

    assert again == first
    less = Space(tuple(each for each in first.dimensions if "activation" not in each.name))
    with pytest.raises(ConfigError, match=r"resume: the sweep began with model.activation among .*has no such field"):
        Journal(tmp_path).pinned(less)


def test_a_sweep_of_an_earlier_version_is_refused_in_one_line(tmp_path: Path) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL))
    study = optuna.create_study(storage=optuna.storages.JournalStorage(backend), study_name=tmp_path.name)
    study.ask()

    with pytest.raises(ConfigError, match="another version of Rayology began the sweep"):
        Journal(tmp_path).pinned(Space(dimensions(wanted())))


def test_to_read_a_journal_does_not_change_it(tmp_path: Path) -> None:
    Journal(tmp_path).pinned(Space(dimensions(wanted())))
    written = (tmp_path / JOURNAL).read_bytes()

    Journal(tmp_path).trials()

    assert (tmp_path / JOURNAL).read_bytes() == written


def test_what_was_stopped_ranks_behind_what_finished_and_what_runs_in_the_middle() -> None:
    trials = [
        Trial(0, {}, 0, curve={25: 0.1}, outcome="stopped"),
        Trial(1, {}, 0, curve={25: 0.2, 50: 0.3}, outcome="stopped"),
        Trial(2, {}, 0, losses=(7.0,), outcome="finished"),
        Trial(3, {}, 0, losses=(5.0,), outcome="finished"),
        Trial(4, {}, 0, outcome="diverged"),
        Trial(5, {}, 0, curve={25: 0.0}),
    ]

    _, losses = history(trials, np.random.default_rng(0))

    assert sorted(range(5), key=losses.__getitem__) == [3, 2, 1, 0, 4]
    assert losses[5] == losses[1]


def test_a_sweep_that_only_finishes_trains_its_best_two_again_however_few_there_are(tmp_path: Path) -> None:
    def better_and_better(trial: Trial) -> float:
        return float(-trial.number)

    begun = Sweep(tmp_path, wanted(num_trials=2, sampler="random", finalists=0), better_and_better).run()

    trials = Sweep(tmp_path, wanted(num_trials=8, sampler="random", finish=True), better_and_better).run()

    assert len(begun) == 2
    assert sorted(trial.repeats for trial in trials[2:] if trial.repeats is not None) == [0, 1]
    assert len(trials) == 4
