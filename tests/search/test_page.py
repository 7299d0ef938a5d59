"""What a sweep shows of itself on its page."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.training.untrained import untrained

from rayology.command_line import load
from rayology.data import PreparedDataset
from rayology.experiment import Experiment
from rayology.search.importance import importances
from rayology.search.journal import Trial
from rayology.search.marks import dimensions
from rayology.search.page import sweep_page, to_train_again
from rayology.search.results import SweepResult
from rayology.search.space import Point, Space

WITHOUT_END = {"meta", "img"}
FEW = {"narrow": {"model.kind": ("vae",), "model.*.kind": ("dense", "vgg")}}
"""A small space, because charts of a large one take seconds."""
SECRET = "/data/Doe^Jane"


class Checked(HTMLParser):
    """A parser that knows which tags are open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def searched(**search: object) -> Experiment:
    return Experiment.model_validate(
        {
            "storage": f"{SECRET}/storage",
            "source": {"kind": "folder", "path": f"{SECRET}/images"},
            "schedule": {"steps": 100},
            "search": {"num_trials": 8, **search},
        }
    )


def swept(experiment: Experiment, count: int, *, outcomes: str = "finished stopped diverged") -> SweepResult:
    """Return a sweep over the whole space, whose trials end in one way after the other."""
    generator, space = np.random.default_rng(0), Space(dimensions(experiment))
    return SweepResult(
        Path(f"{SECRET}/storage/sweeps/some"),
        experiment,
        space,
        tuple(
            ended(number, space.draw(generator), outcomes.split()[number % len(outcomes.split())], experiment)
            for number in range(count)
        ),
    )


def ended(number: int, point: Point, outcome: str, experiment: Experiment) -> Trial:
    rate = float(point["optimizer.lr"])
    losses = (rate, *(float(number % 7) for _ in experiment.search.tradeoffs)) if outcome == "finished" else ()
    curve = {} if outcome == "diverged" else {50: 2 * rate, **({100: rate} if losses else {})}
    return Trial(number, point, 0, curve=curve, losses=losses, outcome=outcome, seconds=1.0)


@pytest.mark.parametrize(
    ("count", "search"),
    [
        (0, FEW),
        (1, FEW),
        (3, FEW),
        (6, {**FEW, "tradeoffs": ["parameters", "spectrum"]}),
        pytest.param(40, {}, marks=pytest.mark.slow),
    ],
)
def test_every_trial_is_on_a_page_that_is_whole_and_names_no_path(count: int, search: Mapping[str, object]) -> None:
    found = swept(searched(**search), count)

    page = sweep_page(found).decode()

    assert Checked(page).open == []
    assert all(f"<td>{trial.name}</td>" in page for trial in found.trials)
    assert page.index(found.verdict) < page.index("<h2>")
    assert "Doe" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "it fetches something"


@pytest.mark.parametrize("outcome", ["stopped", "failed", "rejected"])
def test_a_sweep_of_which_no_trial_finished_has_a_page(outcome: str) -> None:
    page = sweep_page(swept(searched(**FEW), 4, outcomes=outcome)).decode()

    assert f"4 {outcome}" in page
    assert "To train" not in page


def test_several_objectives_show_who_is_ahead_in_what() -> None:
    alone, weighed = (
        sweep_page(swept(searched(**search), 12)).decode() for search in ({}, {"tradeoffs": ["spectrum"]})
    )

    assert "<h2>Objectives</h2>" not in alone
    assert "<h2>Objectives</h2>" in weighed


def test_what_a_loss_depends_on_is_most_important() -> None:
    shares = importances(swept(searched(), 60, outcomes="finished finished stopped"))

    assert next(iter(shares)) == "optimizer.lr"
    assert sum(shares.values()) == pytest.approx(1)


def test_few_trials_tell_no_importance() -> None:
    assert importances(swept(searched(), 9)) == {}
    assert "Too few trials" in sweep_page(swept(searched(**FEW), 9)).decode()


def test_a_page_is_the_same_each_time_it_is_made() -> None:
    found = swept(searched(**FEW), 6)

    assert sweep_page(found) == sweep_page(found)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"model": {"kind": "vae", "objective": {"beta": 4.0}}, "schedule": {"steps": 7}},
        {"model": {"kind": "gan", "critic": {"kind": "resnet", "width": 32}, "regulariser": {"kind": "none"}}},
        {"source": {"kind": "phantom", "patients": 12}, "preparation": {"window": {"low": -5, "high": 9}}},
    ],
)
def test_the_file_of_a_training_is_read_as_that_training(values: dict[str, object], tmp_path: Path) -> None:
    experiment = Experiment().patched(values)
    (tmp_path / "again.yaml").write_text(to_train_again(experiment))

    assert load(Experiment, [str(tmp_path / "again.yaml")], program="train") == experiment


def test_a_finished_trial_whose_bundle_is_gone_may_not_be_promoted_and_its_page_stands(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    trials = swept(small, 2, outcomes="finished").trials
    found = SweepResult(tmp_path, small, Space(()), trials)
    first, second = sorted(trials, key=lambda trial: trial.losses)
    untrained(found.bundle(second), small, data, metrics={"mmd": 1.0, "copies": 0.0})

    page = sweep_page(found).decode()

    assert found.refusals_of(first) == ["its bundle is not there any more"]
    assert found.promotable == second
    assert f"To train {second.name}" in page


def test_samples_of_a_model_that_copies_are_not_shown(small: Experiment, data: PreparedDataset, tmp_path: Path) -> None:
    trials = swept(small, 2, outcomes="finished").trials
    found = SweepResult(tmp_path, small, Space(()), trials)
    copying, fair = sorted(trials, key=lambda trial: trial.losses)
    for trial, copies in ((copying, 0.9), (fair, 0.0)):
        bundle = untrained(found.bundle(trial), small, data, metrics={"mmd": 1.0, "copies": copies})
        assert (bundle.path / "samples.png").exists()

    page = sweep_page(found).decode()

    assert page.count('<img alt="trial-') == 1
    assert f'alt="{fair.name}"' in page
    assert f"{copying.name}, {copying.kind}; copies is 90 %" in page
    assert f"To train {fair.name}" in page
