"""Runs on the command line: how far they are, what they ended with, two of them next to each other, and one less."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from tests.training.untrained import untrained

from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.search.journal import JOURNAL, Journal
from rayology.search.marks import dimensions, starting_points
from rayology.search.space import Space
from rayology.training.history import History
from rayology.training.run import in_sole_use, open_run

RunCommand = Callable[..., "CompletedProcess[str]"]


def test_a_run_that_ended_has_nothing_left_to_do(
    rayology: RunCommand, small: Experiment, data: PreparedDataset
) -> None:
    run = open_run(small, "runs")
    untrained(run.folder / "bundle", small, data)

    ended = rayology("train", "--storage", small.storage, "--resume", run.folder.name)

    assert ended.returncode == 0
    assert "took all its 40 steps before: nothing is left to do." in " ".join(ended.stderr.split())
    assert json.loads(ended.stdout)["run"] == run.folder.name


def test_a_training_shows_every_figure_that_publishing_decides_by_and_what_it_would_refuse(
    rayology: RunCommand, small: Experiment, data: PreparedDataset
) -> None:
    figures = {"mmd": 0.25, "mmd/real": 0.125, "bound": 1.5}
    fair, copying = (open_run(small, "runs") for _ in range(2))
    untrained(fair.folder / "bundle", small, data, metrics=figures)
    untrained(copying.folder / "bundle", small, data, metrics=figures | {"copies": 0.75})

    said, refused = (
        rayology("train", "--storage", small.storage, "--resume", run.folder.name).stderr for run in (fair, copying)
    )

    for text, copies in ((said, "0"), (refused, "0.75")):
        rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in text.splitlines() if "│" in line]
        assert [["mmd", "0.25"], ["bound", "1.5"], ["copies", copies]] == [
            row for name in ("mmd", "bound", "copies") for row in rows if row[0] == name
        ]
        assert "On the validation split, after 40 steps" in text
    assert "Next: rayology publish" in said.replace("python -m ", "")
    assert "copies is 75 %, more than 20 %, so it is neither promoted nor served" in refused
    assert "Next:" not in refused


def test_runs_are_listed_with_how_far_they_are(rayology: RunCommand, small: Experiment, tmp_path: Path) -> None:
    young, old, foreign = (open_run(small.patched({"storage": str(tmp_path)}), "runs").folder for _ in range(3))
    with History(old) as history:
        history.write(5, {"vae/rate": 2.0})
        history.write(10, {"val/mmd": 3.0, "val/mmd/real": 2.5})
        history.write(15, {"vae/rate": 1.0})
    (foreign / "experiment.json").write_text("{}")
    (old / "bundle").mkdir()
    os.utime(old / "experiment.json", (1, 1))
    os.utime(foreign / "experiment.json", (2, 2))

    ended = rayology("runs", "--storage", tmp_path)

    found = json.loads(ended.stdout)["runs"]
    assert list(found) == [old.name, foreign.name, young.name], "the oldest first"
    assert found[young.name] == {
        "step": 0,
        "steps": 40,
        "status": "interrupted",
        "figures": {},
        "has_bundle": False,
    }
    assert found[old.name] == {
        "step": 15,
        "steps": 40,
        "status": "interrupted",
        "figures": {"val/mmd": 3.0, "val/mmd/real": 2.5, "vae/rate": 1.0},
        "has_bundle": True,
    }
    assert found[foreign.name]["steps"] == 0
    assert "15 of 40" in ended.stderr
    assert "0 of ?" in ended.stderr
    assert "/real" not in ended.stderr


def test_a_run_in_the_list_is_running_has_ended_diverged_or_was_interrupted(
    rayology: RunCommand, small: Experiment, tmp_path: Path
) -> None:
    running, ended, diverged, interrupted = (
        open_run(small.patched({"storage": str(tmp_path)}), "runs").folder for _ in range(4)
    )
    for folder in (running, ended, diverged, interrupted):
        with History(folder) as history:
            history.write(40, {"val/mmd": 3.0})
    (ended / "bundle").mkdir()
    (diverged / "diverged.txt").touch()

    with in_sole_use(running):
        said = rayology("runs", "--storage", tmp_path)

    found = json.loads(said.stdout)["runs"]
    assert [found[folder.name]["status"] for folder in (running, ended, diverged, interrupted)] == [
        "running",
        "ended",
        "diverged",
        "interrupted",
    ]
    assert all(f" {status} " in said.stderr for status in ("running", "ended", "diverged", "interrupted"))


def test_two_runs_are_compared_field_by_field_and_figure_by_figure(
    rayology: RunCommand, small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    there = small.patched({"storage": str(tmp_path)})
    old, new = (open_run(there.patched({"optimizer": {"lr": lr}}), "runs").folder for lr in (0.1, 0.2))
    for folder, mmd in ((old, 3.0), (new, 2.0)):
        with History(folder) as history:
            history.write(5, {"vae/rate": 4.0})
            history.write(10, {"val/mmd": 9.0})
            history.write(10, {"vae/rate": mmd + 1})
            history.write(20, {"val/mmd": mmd})
    with History(old, step=20) as history:
        history.write(25, {"vae/rate": 3.5})
    untrained(new / "bundle", small, data, metrics={"mmd": 2.5})

    newest = rayology("runs", "--storage", tmp_path, "--action", "compare")
    named = rayology("runs", "--storage", tmp_path, "--action", "compare", "--name", old.name, "--other", new.name)
    unknown = rayology("runs", "--storage", tmp_path, "--action", "compare", "--other", new.name)
    same = rayology("runs", "--storage", tmp_path, "--action", "compare", "--name", new.name, "--other", new.name)

    found = json.loads(newest.stdout)
    assert found["runs"] == [new.name, old.name]
    assert found["fields"] == {"optimizer.lr": [0.2, 0.1]}
    assert found["figures"] == {
        "step": [20, 25],
        "val/mmd": [2.0, 3.0],
        "vae/rate": [3.0, 3.5],
        "bundle/copies": [0.0, None],
        "bundle/mmd": [2.5, None],
    }
    assert all(row in newest.stderr for row in ("optimizer.lr", "val/mmd"))
    assert json.loads(named.stdout)["fields"] == {"optimizer.lr": [0.1, 0.2]}
    assert f"other: {new.name!r} is not the name of a run there; the newest are: {old.name}" in unknown.stderr
    assert f"other: {new.name} is the same run; name another one" in same.stderr
    (old / "experiment.json").write_text('{"format_version": 1}')
    foreign = rayology("runs", "--storage", tmp_path, "--action", "compare", "--name", new.name)
    assert f"other: another version of Rayology began {old.name} (format 1); name another run" in foreign.stderr
    shutil.rmtree(old)
    alone = rayology("runs", "--storage", tmp_path, "--action", "compare")
    assert "holds 1 run; it takes two to compare" in alone.stderr


def test_a_run_is_removed_unless_it_is_being_trained(rayology: RunCommand, small: Experiment, tmp_path: Path) -> None:
    run, other = (open_run(small.patched({"storage": str(tmp_path)}), "runs").folder for _ in range(2))
    (run / "large").write_bytes(bytes(2_000_000))
    remove = ("runs", "--storage", tmp_path, "--action", "remove")

    with in_sole_use(run):
        busy = rayology(*remove, "--name", run.name)
    nameless = rayology(*remove)
    was_there = run.exists()
    done = rayology(*remove, "--name", run.name)
    again = rayology(*remove, "--name", run.name)

    assert was_there
    assert not run.exists()
    assert other.exists()
    assert f"{run.name} is being trained; wait until it has ended" in busy.stderr
    assert json.loads(done.stdout)["freed_bytes"] > 2_000_000
    assert f"{run.name} was removed: 2.0 MB are free again." in done.stderr
    assert "name: write which run or sweep to remove" in nameless.stderr
    assert f"the newest are: {other.name}" in again.stderr
    assert {ended.returncode for ended in (busy, nameless, again)} == {2}


def test_sweeps_are_listed_with_how_far_they_are_and_who_leads(
    rayology: RunCommand, small: Experiment, tmp_path: Path
) -> None:
    ended, running, fresh, foreign = (open_run(small.patched({"storage": str(tmp_path)}), "sweeps") for _ in range(4))
    space, start = Space(dimensions(small)), starting_points(small)[0]
    for sweep, count in ((ended, 3), (running, 2), (foreign, 1)):
        journal = Journal(sweep.folder)
        for number in range(count):
            journal.begin(space, start, seed=number, repeats=0 if number else None)
    for number in range(3):
        Journal(ended.folder).end(number, "finished", [3.0 - number], seconds=1)
    (ended.folder / "sweep.txt").touch()
    Journal(running.folder).end(0, "stopped")
    (foreign.folder / "experiment.json").write_text("{}")
    before = journals(tmp_path)

    with in_sole_use(running.folder):
        said = rayology("runs", "--storage", tmp_path)

    found = json.loads(said.stdout)["sweeps"]
    assert found[ended.folder.name] == {
        "num_ended": 3,
        "num_trials": 3,
        "status": "ended",
        "objective": "mmd",
        "best": 3.0,
        "winner": "trial-0000",
        "is_told_apart": False,
    }
    assert [found[each.folder.name]["status"] for each in (running, fresh, foreign)] == [
        "running",
        "interrupted",
        "interrupted",
    ]
    assert (found[running.folder.name]["num_ended"], found[running.folder.name]["best"]) == (1, None)
    assert "3 of 3" in said.stderr
    assert "0 of ?" in said.stderr
    assert journals(tmp_path) == before, "to list a sweep changed it"


def journals(storage: Path) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in storage.glob(f"sweeps/*/{JOURNAL}")}


def test_a_sweep_is_removed_unless_it_runs(rayology: RunCommand, small: Experiment, tmp_path: Path) -> None:
    sweep = open_run(small.patched({"storage": str(tmp_path)}), "sweeps").folder
    remove = ("runs", "--storage", tmp_path, "--action", "remove", "--name", sweep.name)

    with in_sole_use(sweep):
        busy = rayology(*remove)
    was_there = sweep.exists()
    done = rayology(*remove)

    assert (busy.returncode, was_there) == (2, True)
    assert json.loads(done.stdout)["removed"] == sweep.name
    assert not sweep.exists()


def test_runs_of_no_storage_say_so(rayology: RunCommand, tmp_path: Path) -> None:
    assert (
        "holds no runs; name the folder that train or tune was given" in rayology("runs", "--storage", tmp_path).stderr
    )
