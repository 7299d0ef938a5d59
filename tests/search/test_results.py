"""What a sweep found, without the sweep."""

import math
from pathlib import Path

import numpy as np
import pytest

from rayology.experiment import Experiment
from rayology.metrics import METRICS, figure_of, loss_of
from rayology.search.finalists import are_told_apart, rank
from rayology.search.journal import Trial
from rayology.search.ranking import best_first
from rayology.search.results import SweepResult, table
from rayology.search.space import Space, Value


def trial(number: int, *losses: float, outcome: str = "finished") -> Trial:
    return Trial(number, {}, 0, losses=losses, outcome=outcome)


def swept(*trials: Trial) -> SweepResult:
    return SweepResult(Path("sweep"), Experiment(), Space(()), trials)


def test_the_best_finished_trial_comes_first_and_then_what_did_not_finish() -> None:
    found = swept(trial(0, outcome="stopped"), trial(1, 0.9), trial(2, 0.1), trial(3, outcome="failed"))

    assert [each.number for each in found.explored] == [2, 1, 0, 3]


def test_a_rejected_trial_names_the_limits_that_it_is_over() -> None:
    rejected = Trial(1, {}, 0, outcome="rejected", violations={"max_parameters": 9.0, "max_memory_gb": 1.0})

    outcomes = next(column for column in table(swept(trial(0, 0.1), rejected)).columns if column.header == "outcome")

    assert list(outcomes.cells) == ["finished", "rejected, over max_memory_gb, max_parameters"]


def test_a_dominated_trial_never_comes_before_one_of_the_front() -> None:
    front = [trial(0, 1.0, 9.0), trial(1, 5.0, 5.0), trial(2, 9.0, 1.0)]
    dominated = [trial(3, 1.0, 9.5), trial(4, 6.0, 6.0)]

    assert [each.number for each in best_first([*dominated, *front])] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", METRICS)
def test_a_loss_is_its_figure_again_and_falls_as_the_figure_gets_better(name: str) -> None:
    better = 0.2 if METRICS[name].direction == "min" else 0.3

    assert figure_of(name, loss_of(name, 0.2)) == 0.2
    assert min((0.2, 0.3), key=lambda figure: loss_of(name, figure)) == better


def test_a_metric_to_be_maximised_puts_the_largest_figure_first() -> None:
    figures = [0.7, 0.9, 0.8]

    ordered = best_first([trial(number, loss_of("dice", figure)) for number, figure in enumerate(figures)])

    assert figure_of("dice", ordered[0].losses[0]) == 0.9


def test_the_winner_is_the_finalist_with_the_best_mean_and_its_best_training_is_published_first() -> None:
    repeats = {0: (5.0, 5.2), 1: (1.1, 0.9)}
    trials = [
        Trial(10 * number + turn, {}, turn, repeats=number, losses=(loss,), outcome="finished")
        for number, losses in repeats.items()
        for turn, loss in enumerate(losses, start=2)
    ]

    found = swept(trial(0, 0.5), trial(1, 1.0), *trials)

    assert [standing.number for standing in found.standings] == [1, 0]
    assert [each.number for each in found.candidates] == [13, 12, 2, 3, 0, 1]


def test_one_training_of_each_finalist_tells_nobody_apart() -> None:
    standings = rank({0: [1.0], 1: [9.0]})

    assert not are_told_apart(standings)
    assert [standing.probability for standing in standings] == [0.5, 0.5]


def test_a_finalist_that_alone_was_trained_again_is_told_apart_from_nobody() -> None:
    standings = rank({0: [1.0, 2.0]})

    assert not are_told_apart(standings)
    assert (standings[0].mean, standings[0].probability) == (1.5, 1.0)


def test_finalists_whose_trainings_are_all_equal_are_not_told_apart() -> None:
    standings = rank({3: [0.0, 0.0], 1: [0.0, 0.0]})

    assert [standing.probability for standing in standings] == pytest.approx([0.5, 0.5], abs=0.03)


def test_a_finalist_far_ahead_is_told_apart_and_units_do_not_matter() -> None:
    losses = {0: [1.0, 1.1, 0.9], 1: [5.0, 5.1, 4.9], 2: [6.0, 6.1, 5.9]}

    standings, scaled = rank(losses), rank({number: [1000 * loss for loss in each] for number, each in losses.items()})

    assert are_told_apart(standings)
    assert standings[0].number == 0
    assert standings[0].low < 1 < standings[0].high
    assert [each.probability for each in scaled] == [each.probability for each in standings]


def test_a_finalist_that_does_not_always_train_well_stands_behind_those_that_do() -> None:
    lucky, good, fair = [0.10, math.inf, math.inf], [0.12, 0.13, 0.11], [0.13, 0.14, 0.13]

    standings = rank({0: lucky, 1: good, 2: fair})

    assert [standing.number for standing in standings] == [1, 2, 0]
    assert [(standing.count, standing.tried) for standing in standings] == [(3, 3), (3, 3), (1, 3)]
    assert standings[-1].probability == 0
    assert standings[:2] == rank({1: good, 2: fair})


@pytest.mark.parametrize("losses", [{0: [1.0], 1: [0.5, math.inf]}, {0: [1.0, 1.1], 1: [0.1, math.inf]}])
def test_the_only_finalist_that_trained_well_each_time_is_not_told_apart(losses: dict[int, list[float]]) -> None:
    standings = rank(losses)
    repeats = [(number, loss) for number, each in losses.items() for loss in each]
    found = swept(
        trial(0, 1.0),
        trial(1, 0.5),
        *(
            Trial(2 + place, {}, place, repeats=number, losses=(loss,), outcome="finished")
            if loss < math.inf
            else Trial(2 + place, {}, place, repeats=number, outcome="diverged")
            for place, (number, loss) in enumerate(repeats)
        ),
    )

    assert [(standing.number, standing.probability) for standing in standings] == [(0, 0.5), (1, 0.5)]
    assert not found.is_told_apart
    assert "it is the only finalist that trained well each time: they are not told apart" in found.verdict


def test_finalists_that_all_came_to_nothing_are_not_said_to_have_been_trained_once() -> None:
    diverged = [Trial(2 + number, {}, 5, repeats=number, outcome="diverged") for number in range(2)]

    found = swept(trial(0, 1.0), trial(1, 2.0), *diverged)

    assert found.standings == []
    assert found.verdict == "No training that repeats a finalist came to anything: nobody is told apart."


def test_differences_no_larger_than_the_noise_name_hardly_any_winner() -> None:
    told = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        own = 0.3 * generator.normal(size=5)
        told += are_told_apart(
            rank({number: (mean + generator.normal(size=3)).tolist() for number, mean in enumerate(own)})
        )

    assert told <= 3  # 5 %


def test_finalists_that_repeat_themselves_exactly_are_ranked_by_what_they_came_to() -> None:
    standings = rank({0: [1.5, 1.5], 1: [4.0, 4.0], 2: [5.0, 5.0]})

    assert [standing.number for standing in standings] == [0, 1, 2]
    assert standings[0].probability > 0.99


def test_a_winner_whose_mean_is_not_the_best_is_not_called_ahead() -> None:
    repeats = {0: (5.81, 4.01, 3.11), 1: (4.16,), 2: (6.0, 6.1, 6.2), 3: (6.3, 6.1, 6.4), 4: (6.0, 6.4, 6.3)}
    trials = [
        Trial(10 * number + turn, {}, turn, repeats=number, losses=(loss,), outcome="finished")
        for number, losses in repeats.items()
        for turn, loss in enumerate(losses, start=5)
    ]
    found = swept(*(trial(number, 1.0) for number in repeats), *trials)
    first, second = found.standings[:2]

    assert ("ahead of" in found.verdict) == (first.mean <= second.mean)
    assert ("behind" in found.verdict) == (first.mean > second.mean)


def test_the_table_shows_the_choices_in_which_trials_differ_however_many_there_are() -> None:
    alike: dict[str, Value] = {f"model.part{number}.width": 8 for number in range(50)}
    points: list[dict[str, Value]] = [
        {"optimizer.lr": 0.002, "model.kind": "gan"},
        {"optimizer.lr": 0.001, "model.kind": "vae", "model.latents": 2},
    ]
    trials = [Trial(number, {**alike, **point}, 0, losses=(1.0,)) for number, point in enumerate(points)]

    chosen = [*table(swept(*trials)).columns[-1].cells]

    assert chosen == ["kind gan, optimizer.lr 0.002", "kind vae, optimizer.lr 0.001"]
