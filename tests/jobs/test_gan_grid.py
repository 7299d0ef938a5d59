"""The benchmark of GANs trains cheap arms for longer, and goes on where it was stopped."""

from pathlib import Path

import pytest
from ended import keep, stored
from gan_grid import ARMS, DEFAULT, Figures, GanGridConfig, Run, is_ahead, runs_of, table

from rayology.errors import ConfigError


def runs(tmp_path: Path, *arms: str, **asked: object) -> list[Run]:
    return [*runs_of(GanGridConfig.model_validate({"folder": tmp_path, "arms": arms, **asked}))]


def figures(validation: float, test: float) -> Figures:
    return Figures({"mmd": validation}, {"mmd": test}, core_minutes=1.0)


def test_every_arm_differs_from_the_default_and_takes_steps_by_its_cost(tmp_path: Path) -> None:
    default, *others = runs(tmp_path, "all", seeds=1, steps=1000)

    assert (default.arm, default.experiment.schedule.steps) == (DEFAULT, 1000)
    assert [each.arm for each in others] == [arm for arm in ARMS if arm != DEFAULT]
    for each in others:
        assert each.experiment.model != default.experiment.model
        assert (each.experiment.schedule.steps < 1000) == (ARMS[each.arm][0] > 1)


def test_the_quick_runs_are_two_arms_on_one_phantom(tmp_path: Path) -> None:
    quick = runs(tmp_path, "all", quick=True)

    assert [(each.data_set, each.arm, each.seed) for each in quick] == [("phantom", arm, 0) for arm in [*ARMS][:2]]


@pytest.mark.parametrize(("validation", "test"), [(1.0, 4.0), (4.0, 1.0)])
def test_an_arm_is_ahead_if_each_of_its_seeds_is_on_both_splits(tmp_path: Path, validation: float, test: float) -> None:
    found = {each: figures(3.0 + each.seed, 3.0 + each.seed) for each in runs(tmp_path, "resnet", seeds=2)}
    ahead = found | {each: figures(1.0 + each.seed, 1.0 + each.seed) for each in found if each.arm == "resnet"}
    on_one = found | {each: figures(validation, test) for each in found if each.arm == "resnet"}

    assert is_ahead("resnet", "mednist", ahead)
    assert not is_ahead("resnet", "mednist", on_one)


def test_a_run_that_diverged_is_behind_all_others_and_is_counted(tmp_path: Path) -> None:
    found = {each: figures(1.0, 1.0) for each in runs(tmp_path, "resnet", seeds=2)}
    found |= {each: Figures({}, {}, 1.0, "not finite") for each in found if (each.arm, each.seed) == ("resnet", 1)}

    assert not is_ahead("resnet", "mednist", found)
    assert [[*column.cells] for column in table("mednist", found).columns[:4]] == [
        [DEFAULT, "resnet"],
        ["2", "2"],
        ["0", "1"],
        ["1 (0)", "1"],
    ]


def test_a_run_that_has_ended_is_read_unless_its_experiment_was_another(tmp_path: Path) -> None:
    (own, _), (other, _) = (runs(tmp_path, "resnet", seeds=1, steps=steps) for steps in (100, 200))
    keep(own.file, own.key, figures(1.0, 2.0))

    assert own.file == other.file
    assert stored(own.file, own.key, Figures) == figures(1.0, 2.0)
    assert stored(other.file, other.key, Figures) is None


@pytest.mark.parametrize(("option", "name"), [("arms", "no such"), ("data_sets", "nowhere")])
def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path, option: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{option}: there is no '{name}'; write all, or some of: "):
        runs_of(GanGridConfig.model_validate({"folder": tmp_path, option: (name,)}))
