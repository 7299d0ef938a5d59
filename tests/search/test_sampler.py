"""Laws of the samplers."""

import numpy as np
import pytest

from rayology.config import Choice, Range
from rayology.search.sampler import SAMPLERS, Surrogate, normal_scores, regret_bound
from rayology.search.space import Dimension, Point, Space

SPACE = Space(
    (
        Dimension("kind", Choice("plain", "deep"), default="plain"),
        Dimension("rate", Range(1e-4, 1e-1, log=True), default=1e-3),
        Dimension("width", Choice(8, 16, 32, 64), default=16),
        Dimension("layers", Range(1, 9), is_integer=True, default=3),
    )
)
NESTED = Space(
    (
        Dimension("model.kind", Choice("a", "b"), default="a"),
        Dimension("model:a.weight", Range(0.0, 1.0), default=0.5),
        Dimension("model:b.width", Choice(8, 16, 32), default=8),
    )
)


def loss(point: Point) -> float:
    """Least at a deep net of five layers with a rate of 1e-2 and a width of 32."""
    rate, layers = np.log10(float(point["rate"])) + 2, (float(point["layers"]) - 5) / 4
    return float(rate**2 + layers**2 + (point["kind"] == "plain") + 0.3 * abs(np.log2(float(point["width"])) - 5))


def searched(name: str, seed: int, *, count: int = 24) -> float:
    """Return the least loss of so many points, the first eight at random."""
    points: list[Point] = []
    for number in range(count):
        generator = np.random.default_rng([seed, number])
        known = [loss(point) for point in points]
        points.append(SAMPLERS[name if number >= 8 else "random"](SPACE, points, known, generator))
    return min(map(loss, points))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gp", "tpe"])
def test_a_sampler_comes_much_nearer_to_the_best_point_than_chance(name: str) -> None:
    found, by_chance = ([searched(each, seed) for seed in range(6)] for each in (name, "random"))

    assert np.mean(found) < 0.7 * np.mean(by_chance)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_proposal_lies_in_the_space_and_has_what_its_kinds_open_and_nothing_else(name: str) -> None:
    points = [NESTED.draw(np.random.default_rng(seed)) for seed in range(12)]

    proposed = [SAMPLERS[name](NESTED, points, [*range(12)], np.random.default_rng(seed)) for seed in range(8)]

    for point in proposed:
        assert point.keys() == {"model.kind", "model:a.weight" if point["model.kind"] == "a" else "model:b.width"}
        assert all(each.admits(point[each.name]) for each in NESTED.dimensions if each.name in point)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_history_leads_to_the_same_proposal_in_whatever_units_losses_are(name: str) -> None:
    points = [SPACE.draw(np.random.default_rng(seed)) for seed in range(10)]
    losses = [*map(loss, points)]

    one, other = (
        SAMPLERS[name](SPACE, points, scaled, np.random.default_rng(0))
        for scaled in (losses, [1024 * each - 8 for each in losses])
    )

    assert one == other


def test_the_gradient_of_the_evidence_is_that_of_finite_differences() -> None:
    points = [SPACE.draw(np.random.default_rng(seed)) for seed in range(9)]
    surrogate = Surrogate(SPACE, points, [*map(loss, points)])
    at = surrogate._log.copy() + 0.3
    steps = np.eye(len(at)) * 1e-6
    numeric = [(surrogate._evidence(at + step)[0] - surrogate._evidence(at - step)[0]) / 2e-6 for step in steps]

    assert surrogate._evidence(at)[1] == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_what_was_seen_is_certain_and_what_lies_far_off_is_not() -> None:
    points = [SPACE.draw(np.random.default_rng(seed)) for seed in range(20)]
    far: Point = {"kind": "plain", "rate": 1e-1, "width": 8, "layers": 9}

    surrogate = Surrogate(SPACE, points, [*map(loss, points)])
    _, (seen, unseen) = surrogate.predict([points[0], far])

    assert seen < unseen
    assert surrogate.predict(points)[0] == pytest.approx(normal_scores([*map(loss, points)]), abs=0.6)


def test_the_bound_on_the_regret_is_under_the_noise_only_where_nothing_is_left_to_find() -> None:
    points = [SPACE.draw(np.random.default_rng(seed)) for seed in range(30)]
    noise = np.random.default_rng(0).normal(size=30).tolist()

    settled, unsettled = (
        regret_bound(SPACE, points, losses, np.random.default_rng(1)) for losses in (noise, [*map(loss, points)])
    )

    assert settled < unsettled


@pytest.mark.parametrize("dimension", SPACE.dimensions, ids=lambda dimension: dimension.name)
def test_a_value_is_found_again_from_its_position_and_its_neighbours_are_others(dimension: Dimension) -> None:
    generator = np.random.default_rng(0)

    for _ in range(20):
        value = dimension.at(generator.random())
        assert dimension.admits(value)
        assert value not in dimension.near(value, generator)
        assert all(dimension.admits(near) for near in dimension.near(value, generator))
        if not dimension.choices:
            assert dimension.at(dimension.position(value)) == pytest.approx(value)
