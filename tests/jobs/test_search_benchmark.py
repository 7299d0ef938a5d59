"""The benchmark of search reads plain tables alone, counts regrets right, and goes on where it was stopped."""

import json
import pickle
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from search_peer import ours
from search_regrets import FINALISTS, difference, regrets_of
from search_tables import Table, read_table

from rayology.errors import ConfigError
from search import SearchBenchmarkConfig, compared, runs_of

ROOT = Path(__file__).parents[2]

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A table of which each operation that is not the last one costs 10 %; half of it was trained once, half thrice."""
    table = {}
    for number, index in enumerate(product(range(5), repeat=6)):
        accuracy = 90.0 - 10 * sum(value < 4 for value in index) + number / 1e6  # no two are alike
        accuracies = [accuracy - 1, accuracy, accuracy + 1] if index[0] % 2 else [accuracy]
        table["".join(map(str, index))] = {"val_acc": accuracies, "train_time": [1.0] * len(accuracies)}
    file = tmp_path / "nasbench201" / "cifar10.pkl"
    file.parent.mkdir()
    file.write_bytes(pickle.dumps(table))
    return tmp_path


def test_a_table_is_read_and_a_look_is_one_of_a_configurations_trainings(data: Path) -> None:
    table = read_table(data, "nasbench201/cifar10")

    looks = {round(table.look((1, 4, 4, 4, 4, 4), np.random.default_rng(seed))) for seed in range(50)}

    assert looks == {19, 20, 21}
    assert table.look((4,) * 6, np.random.default_rng(0)) == pytest.approx(10.0, abs=0.1)
    assert table.regret((4,) * 6) == 0.0
    assert table.regret((0, 0, 0, 0, 0, 4)) == pytest.approx(1.0, abs=0.01)


def test_a_table_that_would_call_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hpobench").mkdir()
    (tmp_path / "hpobench" / "car.pkl").write_bytes(pickle.dumps({"00000": Path}))

    with pytest.raises(pickle.UnpicklingError, match=r"plain values alone, found pathlib\.Path"):
        read_table(tmp_path, "hpobench/car")


def test_a_lucky_look_deceives_one_look_and_not_the_finalists() -> None:
    losses = np.array([[1.0, 3.0], [1.5, 1.5], [4.0, 4.0], [5.0, 5.0]])
    table = Table({"only": 4}, (), losses, losses.mean(axis=1), is_log=False)
    chosen, seen = [(0,), (1,), *[(2,)] * 18], [1.0, 1.5, *[4.0] * 18]

    found = [regrets_of(chosen, seen, table, seed) for seed in range(40)]

    lucky = table.regret((0,))
    assert lucky > table.regret((1,)) == 0.0
    assert all(each["20"] == lucky for each in found)
    assert np.mean([each[FINALISTS] for each in found]) < lucky / 2
    assert set(found[0]) == {"2", "6", "10", "15", "20", FINALISTS}


def test_a_warm_run_begins_with_what_other_tables_found_and_a_cold_one_does_not(data: Path) -> None:
    table, draw = read_table(data, "nasbench201/cifar10"), np.random.default_rng(1)
    chosen = [tuple(map(int, draw.integers(5, size=6))) for _ in range(20)]
    losses = [table.look(index, draw) for index in chosen]

    cold = next(ours(table, 0, "gp"))
    warm = next(ours(table, 0, "gp", [(chosen, losses)]))

    assert warm in chosen
    assert table.regret(warm) <= np.median([table.regret(index) for index in chosen])
    assert cold not in chosen


def test_a_warm_run_learns_from_the_cold_ones_on_the_other_tables_of_its_family() -> None:
    tables = ("hpobench/car", "hpobench/kc1", "nasbench201/cifar10")

    runs = runs_of(SearchBenchmarkConfig(arms=("ours, warm",), tables=tables, seeds=1))

    assert [(run.arm, run.table, run.siblings) for run in runs] == [
        *(("ours", table, ()) for table in tables),
        ("ours, warm", "hpobench/car", ("hpobench/kc1",)),
        ("ours, warm", "hpobench/kc1", ("hpobench/car",)),
        ("ours, warm", "nasbench201/cifar10", ()),
    ]


def test_optimizers_are_compared_on_the_tables_and_seeds_that_both_have() -> None:
    mine = {("a", seed): {"50": 0.1} for seed in range(4)} | {("b", 0): {"50": 9.0}}
    others = {("a", seed): {"100": 0.3 + 0.1 * (seed % 2)} for seed in range(3)}

    found = difference(mine, others, ("50", "100"), ["a", "b"])

    assert found is not None
    assert found.mean == pytest.approx(-0.7 / 3)
    assert found.high - found.mean == pytest.approx(4.303 * 0.0577350 / 3**0.5, rel=0.03)  # Student's t of two freedoms
    alone = difference(mine, {("a", 0): {"100": 0.3}}, ("50", "100"), ["a"])
    assert str(alone) == "-0.200 (-inf to +inf)"
    assert difference(mine, others, ("50", "100"), ["b"]) is None


def test_an_optimizer_that_is_worse_than_random_on_one_table_does_not_meet_what_is_wanted() -> None:
    ours = {("hpobench/car", seed): {"50": 0.2, "100": 0.2, FINALISTS: 0.1} for seed in range(5)}
    better = {("hpobench/car", seed): {"50": 0.1, "100": 0.1, FINALISTS: 0.1} for seed in range(5)}

    found = compared({"ours": ours, "random": better, "Optuna TPE": better}, 100)[1]
    swapped = compared({"ours": better, "random": ours, "Optuna TPE": ours}, 100)[1]

    assert [name for name, is_met in found.items() if is_met] == ["finalists_are_ahead_of_one_look"]
    assert [name for name, is_met in swapped.items() if not is_met] == ["finalists_are_ahead_of_one_look"]


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(
        ConfigError, match="arms: there is no 'hyperopt'; write all, or some of: ours; ours, warm; ours, TPE"
    ):
        runs_of(SearchBenchmarkConfig(arms=("hyperopt",)))
    with pytest.raises(ConfigError, match="tables: there is no 'car'; write all, or some of: hpobench/australian"):
        runs_of(SearchBenchmarkConfig(tables=("car",)))


@pytest.mark.slow
def test_runs_that_have_ended_are_read_and_the_others_are_asked_for(
    run_job: RunJob, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "platform"))  # for the processes that choose
    flags = ["--quick", "--data", data, "--tables", '["nasbench201/cifar10"]', "--folder", tmp_path / "runs"]

    done = run_job("benchmarks/search.py", *flags)
    kept = {file: file.read_bytes() for file in (tmp_path / "runs").iterdir()}
    again = run_job("benchmarks/search.py", *flags)

    assert done.returncode == 0, done.stderr
    counted, read = (json.loads(each.stdout.splitlines()[-1]) for each in (done, again))
    assert counted["seeds"] == {"ours": 2, "random": 2, "Optuna TPE": 2}
    assert set(counted["met"]) == {"nasbench201_as_good_as_optuna_with_half", "never_worse_than_random"}
    assert counted["regrets"] == read["regrets"]
    assert len(kept) == 6
    assert all(file.read_bytes() == before for file, before in kept.items())
    assert "mean regret after" in done.stderr
