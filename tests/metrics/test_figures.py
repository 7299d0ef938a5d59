"""Figures as people read them."""

import pytest
from rich.console import Console

from rayology.metrics import METRICS
from rayology.metrics.figures import Figure, as_markdown, as_table, figures_of, grouped

FIGURES = {
    "psnr": 22.0,
    "psnr/pca-32": 23.0,
    "psnr/nearest": 18.0,
    "mmd": 0.5,
    "mmd/real": 0.1,
    "mmd/low": 0.4,
    "mmd/high": 0.6,
    "class_accuracy": 0.35,
    "class_accuracy/low": 0.3,
    "class_accuracy/high": 0.4,
    "class_accuracy/chance": 0.333,
    "share/lung": 0.2,
    "share/lung/real": 0.25,
    "unheard": 3.0,
}


def figure(name: str) -> Figure:
    return next(each for each in figures_of(FIGURES) if each.name == name)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_group_a_unit_and_a_direction(name: str) -> None:
    (only,) = figures_of({name: 1.0})

    assert only.group
    assert only.unit
    assert only.better == {"min": "lower", "max": "higher"}[METRICS[name].direction]
    assert only.meaning == METRICS[name].meaning


def test_what_belongs_to_a_figure_stands_with_it() -> None:
    assert (figure("mmd").real, figure("mmd").interval) == (0.1, (0.4, 0.6))
    assert figure("psnr").baselines == {"pca-32": 23.0, "nearest": 18.0}
    assert figure("share/lung").real == 0.25
    assert figure("share/lung").better == "near real"


def test_a_figure_is_better_than_a_baseline_only_with_its_whole_interval() -> None:
    assert figure("psnr").beats("nearest")
    assert not figure("psnr").beats("pca-32")
    assert not figure("class_accuracy").beats("chance")
    assert "not better than chance (0.333)" in figure("class_accuracy").cells()[-1]
    lower = figures_of({"bound": 3.0, "bound/uniform": 8.0})[0]
    assert lower.beats("uniform")


def test_figures_stand_in_groups_and_what_is_not_known_comes_last() -> None:
    groups = grouped(figures_of(FIGURES))

    assert [name for name, _ in groups] == ["Fidelity of samples", "Classes of samples", "Reconstructions", "Other"]
    assert [each.name for each in groups[0][1]] == ["mmd", "share/lung"]


def test_table_and_card_show_every_figure_with_its_unit_and_direction() -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(as_table(FIGURES, caption="one patient"))

    for shown in (capture.get(), as_markdown(FIGURES)):
        assert all(each.name in shown for each in figures_of(FIGURES))
        assert "0.5 (0.4 to 0.6)" in shown
        assert "higher" in shown
        assert "dB" in shown
    assert "one patient" in capture.get()
    assert f"- `psnr`: {METRICS['psnr'].meaning}." in as_markdown(FIGURES)


def test_a_figure_without_a_direction_gets_no_verdict() -> None:
    (old,) = figures_of({"of_an_older_version": 0.3, "of_an_older_version/chance": 0.2})

    assert "chance (0.2)" in old.cells()
    assert "better" not in as_markdown({"of_an_older_version": 0.3, "of_an_older_version/chance": 0.2}).split("---")[-1]
