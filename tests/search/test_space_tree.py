"""The tree of a space."""

import io

from rich.console import Console

from rayology.config import Choice, Range
from rayology.experiment import Experiment
from rayology.search.marks import dimensions
from rayology.search.space import Dimension, Space
from rayology.search.space_tree import num_combinations, tree

SPACE = Space(
    (
        Dimension("model.kind", Choice("a", "b"), default="a"),
        Dimension("model:a.net.kind", Choice("x", "y"), default="y"),
        Dimension("model:a.net:x.width", Choice(1, 2, 3), default=2),
        Dimension("model:a.weight", Range(0.1, 1.0), default=0.5),
        Dimension("model:b.depth", Choice(1, 2), default=1),
        Dimension("activation", Choice("silu", "relu"), default="silu"),
    )
)


def lines(space: Space) -> list[str]:
    console = Console(width=200, file=io.StringIO())
    console.print(tree(space), highlight=False)
    return [line.strip(" │├└─") for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_kind_counts_the_combinations_of_what_it_opens_and_a_range_counts_once() -> None:
    assert num_combinations(SPACE) == 2 * ((3 + 1) + 2)


def test_each_dimension_stands_below_its_kind_with_its_default_marked() -> None:
    assert lines(SPACE) == [
        "dimensions: 6; combinations: 12; ranges: 1",
        "model.kind: a*, b",
        "a",
        "model.net.kind: x, y*",
        "x",
        "model.net.width: 1, 2*, 3",
        "model.weight: 0.1 to 1, 0.5*",
        "b",
        "model.depth: 1*, 2",
        "activation: silu*, relu",
    ]


def test_every_dimension_of_an_experiment_stands_in_its_tree_once() -> None:
    space = Space(dimensions(Experiment()))

    found = [line for line in lines(space) if ": " in line][1:]

    assert len(found) == len(space.dimensions)
