"""The order of what a sweep found."""

from pathlib import Path
from typing import Literal

import pytest

from rayology.search.results import TrialResult, best_first, table


def trial(name: str, objective: float, status: Literal["finished", "stopped", "failed"] = "finished") -> TrialResult:
    return TrialResult(Path(name), {}, status, 1, objective)


@pytest.mark.parametrize(("objective", "order"), [("mmd", "abcd"), ("dice", "bacd")])
def test_the_best_finished_trial_comes_first_in_the_direction_of_its_metric(objective: str, order: str) -> None:
    trials = [trial("d", 0.5, "stopped"), trial("c", float("nan")), trial("b", 0.9), trial("a", 0.1)]

    assert "".join(each.folder.name for each in best_first(trials, objective=objective)) == order


def test_the_table_shows_the_choices_in_which_trials_differ_however_many_there_are() -> None:
    alike = {f"model.part{number}.width": 8 for number in range(50)}
    choices = [
        {"optimizer.lr": 0.002, "model.kind": "gan"},
        {"optimizer.lr": 0.001, "model.kind": "vae", "model.beta": 2},
    ]
    trials = [TrialResult(Path(str(each)), {**alike, **each}, "finished", 1, 0.1) for each in choices]

    chosen = [*table(trials, objective="mmd").columns[-1].cells]

    assert chosen == ["kind gan, optimizer.lr 0.002", "kind vae, optimizer.lr 0.001"]
