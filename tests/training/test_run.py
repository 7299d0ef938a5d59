"""A run on disk: what it goes on with, and what it starts from."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.training.recipes import finished
from tests.training.untrained import untrained

from rayology.command_line import load
from rayology.data import PreparedDataset
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.training.checkpoint import newest
from rayology.training.history import read
from rayology.training.loop import Training
from rayology.training.run import Run, in_sole_use, is_in_use, open_run
from rayology.training.worker import train_here

CPU = torch.device("cpu")
OLD_RUN = Path(__file__).parents[1] / "fixtures" / "format_1" / "run"


def test_a_run_goes_on_with_the_experiment_that_it_began_with(small: Experiment, tmp_path: Path) -> None:
    begun = open_run(small.patched({"storage": str(tmp_path), "seed": 7}), "runs")

    resumed = open_run(Experiment(storage=tmp_path, resume="last"), "runs")

    assert resumed.folder == begun.folder
    assert resumed.experiment == begun.experiment
    assert (begun.folder / "experiment.json").stat().st_mode & 0o077 == 0


def took(run: Run, data: PreparedDataset, *, killed_at: int = 0) -> Training:
    """Train a run to its end, or until it is killed at an evaluation."""

    def report(figures: Mapping[str, float]) -> None:
        if figures["step"] == killed_at:
            raise InterruptedError

    return train_here(run.experiment, data, run.folder, report=report, device=CPU)


def newest_bits(run: Run) -> str:
    """Return the name of the newest checkpoint, which holds the hash of its content."""
    file = newest(run.folder / "checkpoints")
    return "" if file is None else file.name


def longer(run: Run, **schedule: object) -> Run:
    asked = Experiment(storage=run.experiment.storage, resume=run.folder.name)
    return open_run(asked.patched({"schedule": schedule}), "runs")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_that_ended_is_trained_longer_and_its_bundle_replaced(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    quick = {"steps": 20, "log_every": 10, "checkpoint_every": 5}
    short = small.patched({"schedule": quick, "storage": str(tmp_path)})
    ended, killed = (open_run(short, "runs") for _ in range(2))
    first = finished(short, data, took(ended, data), ended.folder / "bundle")
    took(killed, data)

    prolonged = longer(ended, steps=40)
    before = (ended.finished(), prolonged.finished())
    bundle = finished(prolonged.experiment, data, took(prolonged, data), ended.folder / "bundle")
    with pytest.raises(InterruptedError):
        took(longer(killed, steps=40), data, killed_at=30)
    took(open_run(Experiment(storage=tmp_path, resume=killed.folder.name), "runs"), data)

    assert before == (first, None)
    assert prolonged.finished() == bundle
    assert bundle.manifest.provenance.steps == 40
    assert [line["step"] for line in read(ended.folder) if "lr" in line] == [10, 20, 30, 40]
    assert newest_bits(ended) == newest_bits(killed)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_that_is_prolonged_before_it_cooled_down_is_as_one_that_was_as_long_from_the_start(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    whole = small.patched({"schedule": {"steps": 40, "checkpoint_every": 5}, "storage": str(tmp_path)})
    from_start, run = open_run(whole, "runs"), open_run(whole.patched({"schedule": {"steps": 30}}), "runs")
    with pytest.raises(InterruptedError):
        took(run, data, killed_at=10)

    took(longer(run, steps=40), data)
    took(from_start, data)

    assert newest_bits(run) == newest_bits(from_start)


def test_only_the_steps_of_a_run_may_change_and_only_to_more(small: Experiment, tmp_path: Path) -> None:
    run = open_run(small.patched({"storage": str(tmp_path)}), "runs")
    sweep = open_run(small.patched({"storage": str(tmp_path)}), "sweeps")

    with pytest.raises(ConfigError, match=r"leave out schedule\.log_every, seed$"):
        open_run(
            small.patched({"storage": str(tmp_path), "resume": "last", "seed": 1, "schedule": {"log_every": 7}}), "runs"
        )
    with pytest.raises(ConfigError, match=r"is to take 40 steps already; give schedule\.steps more"):
        longer(run, steps=39)
    with pytest.raises(ConfigError, match=r"the trials of small-.* take 40 steps, by which they are compared"):
        open_run(Experiment(storage=tmp_path, resume=sweep.folder.name).patched({"schedule": {"steps": 80}}), "sweeps")
    assert longer(run, steps=40).experiment.schedule.steps == 40


def test_a_run_that_is_being_trained_is_not_prolonged(small: Experiment, tmp_path: Path) -> None:
    run = open_run(small.patched({"storage": str(tmp_path)}), "runs")

    with in_sole_use(run.folder), pytest.raises(ConfigError, match="is being trained; wait until it has ended"):
        longer(run, steps=80)

    assert longer(run, steps=80).experiment.schedule.steps == 80


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("runs", lambda run, data: untrained(run.folder / "bundle", run.experiment, data)),
        ("runs", lambda run, _: (run.folder / "diverged.txt").touch()),
        ("sweeps", lambda run, _: (run.folder / "sweep.txt").touch()),
    ],
)
def test_a_job_that_is_submitted_again_goes_on_with_its_run_until_that_ended(
    kind: Literal["runs", "sweeps"],
    end: Callable[[Run, PreparedDataset], object],
    small: Experiment,
    data: PreparedDataset,
    tmp_path: Path,
) -> None:
    asked = small.patched({"storage": str(tmp_path), "resume": "auto"})
    (tmp_path / kind / "damaged").mkdir(parents=True)
    (tmp_path / kind / "damaged" / "experiment.json").touch()

    first, other, again = (open_run(each, kind) for each in (asked, asked.patched({"seed": 7}), asked))
    end(first, data)
    after = open_run(asked, kind)

    assert again.folder == first.folder
    assert (first.is_resumed, again.is_resumed, after.is_resumed) == (False, True, False)
    assert len({first.folder, other.folder, after.folder}) == 3
    assert again.experiment == first.experiment


def test_a_field_that_has_the_runs_own_value_changes_nothing(small: Experiment, tmp_path: Path) -> None:
    begun = open_run(small.patched({"storage": str(tmp_path)}), "runs").experiment
    words = ["--storage", str(tmp_path), "--resume", "last", "--schedule.evaluate-every", "10"]

    assert open_run(load(Experiment, words), "runs").experiment.schedule == begun.schedule
    with pytest.raises(ConfigError, match=r"leave out schedule\.evaluate_every$"):
        open_run(load(Experiment, [*words[:-1], "11"]), "runs")
    with pytest.raises(ConfigError, match="is to take 40 steps already"):
        open_run(load(Experiment, [*words[:4], "--schedule.steps", "39"]), "runs")
    assert (
        open_run(load(Experiment, [*words[:4], "--schedule.steps", "2000"]), "runs").experiment.schedule.steps == 2000
    )


@pytest.mark.parametrize("kind", ["runs", "sweeps"])
def test_a_storage_that_is_not_there_is_told_with_what_to_write(
    kind: Literal["runs", "sweeps"], tmp_path: Path
) -> None:
    (tmp_path / "empty" / kind).mkdir(parents=True)
    advice = "give the storage that it began with, or leave resume out to start one"

    with pytest.raises(ConfigError, match=rf"^resume: {tmp_path}/none/{kind} is not there; {advice}$"):
        open_run(Experiment(storage=tmp_path / "none", resume="last"), kind)
    with pytest.raises(ConfigError, match=rf"^resume: {tmp_path}/empty/{kind} holds no 'last'; {advice}$"):
        open_run(Experiment(storage=tmp_path / "empty", resume="last"), kind)


def test_a_run_that_is_not_among_those_of_a_storage_is_answered_with_the_newest(
    small: Experiment, tmp_path: Path
) -> None:
    run = open_run(small.patched({"storage": str(tmp_path)}), "runs")

    with pytest.raises(ConfigError, match=rf"holds no 'phantom-1'; the newest there are: {run.folder.name}, or leave"):
        open_run(Experiment(storage=tmp_path, resume="phantom-1"), "runs")


def test_a_run_is_in_use_while_a_process_has_its_lock(small: Experiment, tmp_path: Path) -> None:
    run = open_run(small.patched({"storage": str(tmp_path)}), "runs")
    before = is_in_use(run.folder)

    with in_sole_use(run.folder):
        during = is_in_use(run.folder)

    assert (before, during, is_in_use(run.folder)) == (False, True, False)


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format_version": 5}', '{"format_version": 5, "experiment": {"x": 1}}']
)
def test_a_run_that_another_version_began_or_that_is_damaged_is_refused_in_one_line(
    damage: str, tmp_path: Path
) -> None:
    shutil.copytree(OLD_RUN, tmp_path / "runs" / "old")
    if damage:
        (tmp_path / "runs" / "old" / "experiment.json").write_text(damage)

    with pytest.raises(ConfigError, match="start it anew, with its YAML file and flags") as refusal:
        open_run(Experiment(storage=tmp_path, resume="old"), "runs")

    assert "\n" not in str(refusal.value)


def test_a_sweep_goes_on_with_what_is_named_of_its_budget_and_with_its_own_of_the_rest(tmp_path: Path) -> None:
    storage = ["--storage", str(tmp_path)]
    begun = open_run(load(Experiment, [*storage, "--search.num-trials", "12", "--search.hours", "2"]), "sweeps")
    words = [*storage, "--resume", begun.folder.name]

    longer = open_run(load(Experiment, [*words, "--search.hours", "5"]), "sweeps").experiment
    finished = open_run(load(Experiment, [*words, "--search.finish"]), "sweeps").experiment
    later = open_run(load(Experiment, words), "sweeps").experiment

    assert longer == begun.experiment.patched({"search": {"hours": 5}})
    assert finished == longer.patched({"search": {"finish": True}})
    assert later == longer


def test_a_resume_that_is_refused_leaves_what_there_was(tmp_path: Path) -> None:
    storage = ["--storage", str(tmp_path)]
    begun = open_run(load(Experiment, storage), "sweeps")
    words = [*storage, "--resume", begun.folder.name, "--search.num-trials", "4"]

    for wrong in (["--search.max-parameters", "9000"], ["--schedule.steps", "7"], ["--seed", "3"]):
        with pytest.raises(ConfigError, match=wrong[0].removeprefix("--").replace("-", "_")):
            open_run(load(Experiment, [*words, *wrong]), "sweeps")

    assert open_run(load(Experiment, words[:4]), "sweeps").experiment == begun.experiment
