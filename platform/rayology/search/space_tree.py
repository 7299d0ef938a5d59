"""The space of a sweep as people look at it: a tree of kinds, what each opens, and how large it is."""

import math
from collections.abc import Mapping

from rich.tree import Tree

from rayology.config import kinds_of, path_of
from rayology.search.space import Dimension, Space

__all__ = ["num_combinations", "tree"]


def tree(space: Space) -> Tree:
    """Lay a space out, the defaults where a sweep begins marked by a star."""
    numbers = sum(not dimension.choices for dimension in space.dimensions)
    sizes = {"dimensions": len(space.dimensions), "combinations": num_combinations(space), "ranges": numbers}
    shown = Tree("; ".join(f"{name}: {size:,}" for name, size in sizes.items()))
    _grow(shown, space, {})
    return shown


def num_combinations(space: Space, opened: Mapping[str, str] | None = None) -> int:
    """Return how many combinations of choices there are below some kinds, or in all; a range counts once."""
    kinds = opened or {}
    return math.prod(
        sum(num_combinations(space, {**kinds, dimension.name: str(choice)}) for choice in dimension.choices)
        if dimension.is_kind
        else max(1, len(dimension.choices))
        for dimension in space.dimensions
        if kinds_of(dimension.name) == kinds
    )


def _grow(branch: Tree, space: Space, kinds: Mapping[str, str]) -> None:
    for dimension in space.dimensions:
        if kinds_of(dimension.name) == kinds:
            grown = branch.add(_label(dimension))
            for choice in dimension.choices if dimension.is_kind else ():
                below = {**kinds, dimension.name: str(choice)}
                if any(kinds_of(each.name) == below for each in space.dimensions):
                    _grow(grown.add(str(choice)), space, below)


def _label(dimension: Dimension) -> str:
    if dimension.choices:
        found = ", ".join(f"{value}*" if value == dimension.default else str(value) for value in dimension.choices)
    else:
        default = dimension.default
        found = f"{dimension.mark}, {default:g}*" if isinstance(default, int | float) else str(dimension.mark)
    return f"{path_of(dimension.name)}: {found}"
