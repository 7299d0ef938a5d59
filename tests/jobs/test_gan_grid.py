"""The benchmark of GANs gives every arm the same time, and goes on where it was stopped."""

from pathlib import Path

import pytest
from gan_grid import ARMS, DEFAULT, Case, Ended, GanGridConfig, cases_of, is_ahead, keep, stored

from rayology.errors import ConfigError


def cases(tmp_path: Path, *arms: str, **asked: object) -> list[Case]:
    return [*cases_of(GanGridConfig.model_validate({"folder": tmp_path, "arms": arms, **asked}))]


def ended(mmd: float) -> Ended:
    return Ended({"mmd": mmd}, {"mmd": 2 * mmd}, core_minutes=1.0)


def test_every_arm_differs_from_the_default_and_computes_as_long(tmp_path: Path) -> None:
    default, *others = cases(tmp_path, "all", seeds=1, steps=1000)

    assert default.arm == DEFAULT
    assert len(others) == len(ARMS) - 1
    for case in others:
        assert case.experiment.model != default.experiment.model
        assert case.experiment.schedule.steps * ARMS[case.arm][0] == pytest.approx(1000, rel=0.01)


def test_an_arm_is_ahead_if_each_of_its_seeds_is_on_both_splits(tmp_path: Path) -> None:
    found = {case: ended(3.0 + case.seed) for case in cases(tmp_path, "resnet", "packs of 2", seeds=2)}
    found |= {case: ended(1.0 + case.seed) for case in found if case.arm == "resnet"}
    found |= {case: ended(2.5 + case.seed) for case in found if case.arm == "packs of 2"}

    assert is_ahead("resnet", "mednist", found)
    assert not is_ahead("packs of 2", "mednist", found)


def test_a_run_that_diverged_is_behind_all_others(tmp_path: Path) -> None:
    found = {case: ended(1.0) for case in cases(tmp_path, "resnet", seeds=1)}
    found |= {case: Ended({}, {}, 1.0, "not finite") for case in found if case.arm == "resnet"}

    assert not is_ahead("resnet", "mednist", found)


def test_a_run_that_has_ended_is_read_unless_its_experiment_was_another(tmp_path: Path) -> None:
    (case, _), (other, _) = (cases(tmp_path, "resnet", seeds=1, steps=steps) for steps in (100, 200))
    keep(case, ended(1.0))

    assert stored(case) == ended(1.0)
    assert stored(other) is None


@pytest.mark.parametrize(("option", "name"), [("arms", "no such"), ("data_sets", "nowhere")])
def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path, option: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{option}: there is no '{name}'; write some of: "):
        cases_of(GanGridConfig.model_validate({"folder": tmp_path, option: (name,)}))
