"""The benchmark of what a search gains compares the winner and the default at equal computing."""

from pathlib import Path

import pytest
from gan_grid import DEFAULT, Figures, Run
from search_gain import WINNER, SearchGainConfig, Winner, experiment_of, is_ahead, runs_of


def runs(tmp_path: Path, *, cost: float) -> list[Run]:
    config = SearchGainConfig(folder=tmp_path, steps=100, seeds=3)
    point = {"model.kind": "gan", "model:gan.loss": "hinge"}
    return runs_of(config, experiment_of(config, "phantom"), Winner("some", 1, point, cost, "it is ahead"))


@pytest.mark.parametrize(("cost", "steps"), [(2.0, {DEFAULT: 200, WINNER: 100}), (0.5, {DEFAULT: 100, WINNER: 200})])
def test_the_cheaper_one_takes_more_steps_with_the_same_seeds(
    tmp_path: Path, cost: float, steps: dict[str, int]
) -> None:
    found = runs(tmp_path, cost=cost)

    assert {run.arm: run.experiment.schedule.steps for run in found} == steps
    assert len({run.seed for run in found}) == 3
    assert len(found) == 6
    assert {run.arm: run.experiment.model.model_dump()["loss"] for run in found} == {
        DEFAULT: "relativistic",
        WINNER: "hinge",
    }


def test_a_winner_is_ahead_if_it_is_by_more_than_the_spread(tmp_path: Path) -> None:
    def compared(gain: float) -> bool:
        mmds = {run: run.seed % 3 - gain * (run.arm == WINNER) for run in runs(tmp_path, cost=1.0)}
        return is_ahead({run: Figures({}, {"mmd": mmd}, 1.0) for run, mmd in mmds.items()})

    assert [compared(gain) for gain in (-2.0, 0.9, 1.1)] == [False, False, True]


def test_who_diverged_is_behind(tmp_path: Path) -> None:
    found = {run: Figures({}, {"mmd": 1.0}, 1.0) for run in runs(tmp_path, cost=1.0)}

    for arm in (DEFAULT, WINNER):
        diverged = next(run for run in found if run.arm == arm)
        assert is_ahead(found | {diverged: Figures({}, {}, 1.0, "not finite")}) == (arm == DEFAULT)
