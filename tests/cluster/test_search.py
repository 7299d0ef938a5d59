"""Sweeps on a real local Ray."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ray import tune

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.errors import SearchError
from rayology.experiment import Experiment
from rayology.metrics import METRICS
from rayology.search.journal import TRIALS, Journal
from rayology.search.marks import dimensions
from rayology.search.page import sweep_page
from rayology.search.planner import Planner
from rayology.search.results import promote_best, table
from rayology.search.searcher import LOSSES, OUTCOME, JournalSearcher
from rayology.search.space import Space
from rayology.search.study import _name, _trial, search
from rayology.store import Store
from rayology.training.history import read
from rayology.training.run import BUNDLE, Assignment, open_run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

ROOT = Path(__file__).parents[2]
STEPS = 120


def test_a_sweep_tries_what_is_marked_and_its_best_becomes_the_champion(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After 40 steps samples are the average image, which lies near training images: the gate is tested elsewhere.
    monkeypatch.setitem(METRICS, "copies", replace(METRICS["copies"], gate=None))
    sweep = open_run(small.patched({"storage": str(tmp_path)}), "sweeps")

    found = search(sweep, data)
    best = promote_best(found)
    again = promote_best(found)
    page = sweep_page(found).decode()

    finished = [trial.losses for trial in found.explored if trial.losses]
    assert len(found.trials) == 3
    assert finished == sorted(finished)
    store = Store(str(tmp_path / "store"))
    assert store.versions("small") == [store.champion("small")] == [best.promotion.version]
    assert (best.promotion.comparison.verdict, again.promotion.comparison.verdict) == ("first", "same")
    assert best.bundle.manifest.model.kind in {"vae", "gan"}
    assert table(found).row_count == 3
    assert all(trial.name in page for trial in found.explored)
    assert not list(sweep.folder.glob(".ray-*"))


# That several workers diverge together is tested of trainings; a sweep with several is one more Ray Train a trial.
@pytest.mark.parametrize(("num_workers", "outcomes"), [(1, ["diverged", "unfit", "finished"]), (2, ["finished"])])
def test_a_trial_that_diverges_or_does_not_fit_costs_only_itself(
    num_workers: int, outcomes: list[str], small: Experiment, data: PreparedDataset
) -> None:
    points = [{"optimizer.lr": 1e30}, {"schedule.batch_size": 2**20}, {"optimizer.lr": 1e-3}][-len(outcomes) :]
    shorter = {"schedule": {"steps": 10}, "scaling": {"num_workers": num_workers, "max_failures": 0}}
    sweep = open_run(small.patched(shorter), "sweeps")
    experiment = sweep.experiment.model_dump(mode="json")
    assignment = Assignment(experiment=experiment, dataset=str(data.path), folder=str(sweep.folder), reports=True)
    trials = tune.Tuner(
        tune.with_resources(partial(_trial, assignment=assignment), {"CPU": 1}),
        param_space=tune.grid_search(
            [{"number": number, "seed": 0, "point": point} for number, point in enumerate(points)]
        ),
        tune_config=tune.TuneConfig(trial_name_creator=_name, trial_dirname_creator=_name, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(sweep.folder), name="ray", verbose=0),
    ).fit()

    assert trials.num_errors == 0
    assert [trial.metrics[OUTCOME] for trial in trials] == outcomes
    assert math.isfinite(*trials[-1].metrics[LOSSES])
    assert len(list(sweep.folder.glob(f"trials/*/{BUNDLE}"))) == 1


def test_a_sweep_whose_trials_all_fail_says_so(small: Experiment, data: PreparedDataset) -> None:
    sweep = open_run(small.patched({"search": {"num_trials": 1, "max_failures": 0}}), "sweeps")
    (sweep.folder / "trials").write_text("a file where their folders belong")

    found = search(sweep, data)

    assert [trial.outcome for trial in found.trials] == ["failed"]
    with pytest.raises(SearchError, match="none of 1 trials finished"):
        promote_best(found)


def test_a_sweep_that_was_interrupted_promotes_nobody_and_goes_on_where_it_was_moved_to(
    ray_cluster: str, small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    # What a driver leaves that is killed outright is tested line by line in tests/search.
    budget = {"num_trials": 3, "grace_steps": STEPS, "concurrent_trials": 1}
    schedule = {"steps": STEPS, "evaluate_every": STEPS, "checkpoint_every": 5}
    sweep = small.patched({"search": budget, "schedule": schedule})
    settings = small.storage / "sweep.yaml"
    settings.write_text(sweep.model_dump_json())
    driver = subprocess.Popen(
        [sys.executable, ROOT / "jobs" / "tune.py", settings, "--name", "interrupted"],
        env={**os.environ, "RAY_ADDRESS": ray_cluster},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_the_second(small.storage / "sweeps", name="interrupted")
        promoted = set((small.storage / "store").rglob("*"))
    finally:
        driver.send_signal(signal.SIGINT)
        driver.wait(60)
    finished = {
        bundle: Bundle.load(bundle).manifest for bundle in small.storage.glob(f"sweeps/interrupted-*/trials/*/{BUNDLE}")
    }
    assert driver.returncode == 128 + signal.SIGINT
    assert set((small.storage / "store").rglob("*")) == promoted

    storage = tmp_path / "another disk"
    old = max(small.storage.glob("sweeps/interrupted-*"))
    shutil.copytree(old, storage / "sweeps" / old.name)
    shutil.rmtree(old)
    old.mkdir()
    found = search(open_run(Experiment(storage=storage, resume="last"), "sweeps"), data)

    assert found.folder.name == old.name
    assert [trial.outcome for trial in found.trials if trial.outcome not in {"finished", "stopped"}] == []
    assert len(found.trials) == 3
    assert len(finished) == 1
    for trial in found.trials:
        logged = [int(line["step"]) for line in read(found.folder / TRIALS / trial.name) if "lr" in line]
        assert logged == sorted(set(logged)), "a step was taken twice"
        assert logged[-1] == STEPS
    assert not list(old.iterdir())
    for bundle, manifest in finished.items():
        moved = storage / bundle.relative_to(small.storage)
        assert Bundle.load(moved).manifest == manifest, "a finished trial was trained again"


def _wait_for_the_second(folder: Path, *, name: str) -> None:
    """Wait until the first trial has ended, and the second is on its way."""
    deadline = time.monotonic() + 300
    while not any(line["step"] > 10 for run in folder.glob(f"{name}-*/trials/trial-0001") for line in read(run)):
        assert time.monotonic() < deadline, "no trial finished in time"
        time.sleep(0.05)


def test_more_trials_run_once_the_cluster_has_grown(small: Experiment, tmp_path: Path) -> None:
    room = iter([1, 1, 2, 2])
    space, journal = Space(dimensions(small)), Journal(tmp_path)
    searcher = JournalSearcher(lambda: (Planner(small, space, journal), journal), most=lambda: next(room))

    begun = [searcher.suggest(str(number)) is not None for number in range(4)]

    assert begun == [True, False, True, False]
