"""What a sweep searches: the marks on an experiment's fields, narrowed as it asks, and where it starts."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from rayology.config import Choice, Range, is_open, kinds_of, leaves, nested, path_of
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.search.space import Dimension, Point, Value

__all__ = ["candidate", "dimensions", "out_of_range", "starting_points"]

SEARCHED = ("model", "optimizer")  # a sweep compares models on one dataset and one schedule


def candidate(experiment: Experiment, point: Point, *, seed: int) -> Experiment:
    """Return the experiment of a trial."""
    return experiment.patched({**nested({path_of(name): value for name, value in point.items()}), "seed": seed})


def dimensions(experiment: Experiment) -> tuple[Dimension, ...]:
    """Return all that a sweep searches, a union's kind before that kind's own fields.

    The experiment's own value is one of the choices of its field, marked or not; a range is never widened. If several
    kinds have a field, each keeps those of the wanted values that it has. A kind that
    ``search.narrow`` leaves out, or whose models lack the objective, has no dimensions.

    Raises:
        ConfigError: ``search.narrow`` names no such field, widens what is marked, or leaves a kind nothing to choose;
            or no kind of model has the objective.
    """
    if not experiment.measurable_kinds:
        raise ConfigError(f"search.objective: no kind of model has {experiment.search.objective}; choose another")
    found = _marked(experiment)
    narrow = experiment.search.narrow
    for key, wanted in narrow.items():
        _check(key, wanted, found)
    kept: dict[str, Dimension] = {}
    for dimension in found:
        if all(union in kept and kind in kept[union].choices for union, kind in kinds_of(dimension.name).items()):
            left = _narrowed(dimension, narrow)
            default = left.nearest(left.default)
            kept[dimension.name] = replace(left, default=left.choices[0] if default is None else default)
    for key, wanted in narrow.items():
        _check_narrows(key, wanted, [dimension for dimension in found if dimension.name in kept])
    return tuple(kept.values())


def starting_points(experiment: Experiment) -> tuple[dict[str, Value], ...]:
    """Return what to try first, by name: the experiment as it stands, then each kind of each union once.

    The kinds of models come first, each with its default parts, then those of several parts together. Another kind
    starts from its defaults and leaves the rest as it stands. A value outside its range is tried at the
    nearest bound, see ``out_of_range``; a choice that ``search.narrow`` excludes is left out.
    """
    searched = dimensions(experiment)
    points = [_point(searched, experiment)]
    unions = [dimension for dimension in searched if dimension.is_kind]
    unions.sort(key=lambda union: (bool(kinds_of(union.name)), not union.is_open(points[0])))  # the experiment's first
    while untried := [
        {**{path_of(outer): kind for outer, kind in kinds_of(union.name).items()}, union.path: choice}
        for union in unions
        for choice in union.choices
        if (union.path, choice) not in {(path_of(name), value) for point in points for name, value in point.items()}
    ]:
        chosen = untried[0]
        for kinds in untried[1:] if len(chosen) > 1 else ():
            if all(chosen.get(path, kind) == kind for path, kind in kinds.items()):
                chosen |= kinds
        points.append(_point(searched, experiment.patched(nested(chosen))))
    return tuple(points)


def out_of_range(experiment: Experiment) -> tuple[str, ...]:
    """Return a sentence for each value of the experiment that lies outside the range that is searched."""
    sentences = []
    own: dict[str, Value] = {}
    for dimension in dimensions(experiment):
        if dimension.is_open(own):
            value = own[dimension.name] = attrgetter(dimension.path)(experiment)
            if isinstance(dimension.mark, Range) and not dimension.admits(value):
                nearest = dimension.nearest(value)
                sentences.append(
                    f"{dimension.path}: {value:g} is not within {dimension.mark}; {nearest:g} is tried first"
                )
    return tuple(sentences)


def _marked(experiment: Experiment) -> list[Dimension]:
    """List the dimensions that the marks make, with the experiment's own value among the choices."""
    found = []
    own: dict[str, Value] = {}
    for leaf in leaves(type(experiment)):
        kinds = [kind for kind in leaf.kinds if leaf.name != "model.kind" or kind in experiment.measurable_kinds]
        marks = [Choice(*kinds)] if leaf.kinds else leaf.info.metadata
        mark = next((mark for mark in marks if isinstance(mark, Range | Choice)), None)
        if mark is None or path_of(leaf.name).partition(".")[0] not in SEARCHED:
            continue
        if is_open(leaf.name, own):
            value = own[leaf.name] = attrgetter(path_of(leaf.name))(experiment)
            if isinstance(mark, Choice) and value not in mark.values and not leaf.kinds:
                mark = Choice(*mark.values, value)
        found.append(Dimension(leaf.name, mark, leaf.info.annotation is int, own.get(leaf.name, leaf.default)))  # type: ignore[arg-type] # a marked field holds such a value
    return found


def _check(key: str, wanted: Sequence[Value], found: Sequence[Dimension]) -> None:
    """Refuse a narrowing of what is not searched, or to what no kind has."""
    named = [dimension for dimension in found if dimension.is_named_by(key)]
    if not named:
        known = sorted({dimension.path for dimension in found})
        near = difflib.get_close_matches(key, known, n=1)
        these = f"did you mean {near[0]}?" if near else f"these are: {', '.join(known)}"
        raise ConfigError(f"search.narrow: {key} is not searched; {these}")
    ranges = sorted({str(dimension.mark) for dimension in named if not dimension.choices})
    choices = dict.fromkeys(value for dimension in named for value in dimension.choices)
    in_order = sorted(choices, key=lambda value: 0 if isinstance(value, str) else value)
    is_known = all(any(dimension.admits(value) for dimension in named) for value in wanted)
    if not wanted or not is_known or (ranges and not _interval(wanted)):
        some = [f"some of {', '.join(map(str, in_order))}"] if choices else []
        found_values = ", ".join(map(_text, wanted)) or "none"
        ways = [*some, *(f"two numbers from {interval}" for interval in ranges)]
        order = ", the lower one first" if ranges and is_known else ""
        raise ConfigError(f"search.narrow.{key}: write {' or '.join(ways)}{order}, found {found_values}")


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_narrows(key: str, wanted: Sequence[Value], left: Sequence[Dimension]) -> None:
    """Refuse choices that only kinds have which are not searched."""
    named = [dimension for dimension in left if dimension.is_named_by(key)]
    if named and not any(dimension.admits(value) for dimension in named for value in wanted):
        known = dict.fromkeys(value for dimension in named for value in dimension.ends)
        found, some = (", ".join(map(_text, values)) for values in (wanted, known))
        raise ConfigError(f"search.narrow.{key}: no kind of model that is searched has {found}; write some of {some}")


def _interval(wanted: Sequence[Value]) -> tuple[float, float] | None:
    match wanted:
        case (int() | float() as low, int() | float() as high) if low <= high:
            return low, high
        case _:
            return None


def _narrowed(dimension: Dimension, narrow: Mapping[str, Sequence[Value]]) -> Dimension:
    """Keep what a dimension has of the values that a sweep wants; one that has none stays if a star names it.

    Of several keys the one with the fewest stars counts, of those the one with the most kinds.
    """
    keys = [key for key in narrow if dimension.is_named_by(key)]
    if not keys:
        return dimension
    key = max(keys, key=lambda key: (-key.count("*"), key.count(":")))
    match dimension.mark:
        case Choice(values):
            if kept := [value for value in values if value in narrow[key]]:
                return replace(dimension, mark=Choice(*kept))
        case Range(low, high, log):
            least, most = _interval(narrow[key]) or (low, high)
            if max(low, least) <= min(high, most):
                return replace(dimension, mark=Range(max(low, least), min(high, most), log=log))
    if "*" in key:
        return dimension
    *_, (union, kind) = kinds_of(dimension.name).items()
    raise ConfigError(
        f"search.narrow.{key}: has nothing for {path_of(union)} {kind}; add some of {dimension.mark}, or narrow"
        f" {path_of(union)} to other kinds"
    )


def _point(searched: Sequence[Dimension], base: Experiment) -> dict[str, Value]:
    """Return an experiment's values by name; a kind that is not searched gives way to the first that is."""
    point: dict[str, Value] = {}
    for dimension in searched:
        if dimension.is_open(point):
            value = dimension.nearest(attrgetter(dimension.path)(base))
            if value is None and dimension.is_kind:
                value = dimension.choices[0]
                base = base.patched(nested({dimension.path: value}))
            if value is not None:
                point[dimension.name] = value
    return point
