"""The benchmark of mode coverage counts right, and goes on where it was stopped."""

import math
from pathlib import Path

import mode_coverage
import pytest
import torch
from ended import keep, stored
from mode_coverage import (
    ARMS,
    DEFAULT,
    MIXTURES,
    NUM_SAMPLES,
    Figures,
    ModeCoverageConfig,
    Run,
    coverage,
    met,
    runs_of,
)

from rayology.errors import ConfigError


@pytest.mark.parametrize(("name", "kl"), [("ring", 0.0014), ("grid", 0.0049)])
def test_a_perfect_sampler_covers_every_mode_and_has_the_divergence_of_chance(name: str, kl: float) -> None:
    mixture = MIXTURES[name]

    found = [coverage(mixture.points(seed)[:NUM_SAMPLES], mixture) for seed in range(20)]

    assert all(each["modes"] == len(mixture.modes) for each in found)
    assert sum(each["kl"] for each in found) / 20 == pytest.approx(kl, rel=0.3)
    assert sum(each["quality"] for each in found) / 20 == pytest.approx(1 - math.exp(-4.5), abs=0.002)


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=list(MIXTURES))
def test_a_collapsed_sampler_has_one_mode_and_the_largest_divergence(mixture: mode_coverage.Mixture) -> None:
    one, none = mixture.modes[3].expand(100, 2), torch.full((100, 2), 9.0)

    assert coverage(one, mixture) == {"modes": 1, "kl": pytest.approx(math.log(len(mixture.modes))), "quality": 1}
    assert coverage(none, mixture) == {"modes": 0, "kl": pytest.approx(math.log(len(mixture.modes))), "quality": 0}


def test_blurred_samples_that_cover_every_mode_do_not_meet_the_share_of_good_ones() -> None:
    exact = {"modes": (8.0, 8.0, 8.0), "kl": (0.001, 0.001, 0.001), "quality": (0.989, 0.98, 0.99)}

    assert met("ring", exact) == {"ring_modes_and_kl": True, "ring_good_samples": True}
    assert met("ring", {**exact, "quality": (0.1, 0.1, 0.1)}) == {"ring_modes_and_kl": True, "ring_good_samples": False}


def test_a_run_that_has_ended_is_read_unless_its_experiment_was_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, figures = Run("ring", DEFAULT, 0, 5), Figures(drawn={"last": {"modes": 8.0}}, diverged="")
    keep(run.file(tmp_path), run.key, figures)

    assert stored(run.file(tmp_path), run.key, Figures) == figures
    assert stored(run.file(tmp_path), Run("ring", DEFAULT, 1, 5).key, Figures) is None
    monkeypatch.setattr(mode_coverage, "RECIPE", {**mode_coverage.RECIPE, "optimizer": {"lr": 0.5}})
    assert stored(run.file(tmp_path), run.key, Figures) is None


def test_an_arm_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="there is no 'wgan'; write all, or some of: relativistic"):
        runs_of(ModeCoverageConfig(arms=("wgan",)))


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_on_points(arm: str) -> None:
    figures = Run("grid", arm, 0, 2).train()

    assert not figures.diverged
    assert set(figures.drawn) == {"last", "averaged"}
