"""The search space: dimensions, each open to some kinds of the unions above it alone, and the points they make."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import JsonValue

from rayology.config import Choice, Range, is_open, kinds_of, path_of

__all__ = ["Dimension", "Point", "Space", "Value"]

Value = str | float | bool
Point = Mapping[str, Value]
"""Values by the names of the dimensions that are open to it, a kind before what it opens."""
NEAR = (-0.2, -0.05, 0.05, 0.2)  # of a range's whole width: how far its neighbours lie


@dataclass(frozen=True)
class Dimension:
    """One value to search.

    Each colon in its name is followed by the kind that it belongs to: ``model:vae.latents`` is open to a VAE alone.
    """

    name: str
    mark: Range | Choice
    is_integer: bool = False
    default: Value = 0.0
    """Where it stands for a point to which it is closed."""

    @property
    def path(self) -> str:
        """The field that it sets."""
        return path_of(self.name)

    @property
    def is_kind(self) -> bool:
        """Whether it chooses among the kinds of a union."""
        return self.name.endswith(".kind")

    def is_open(self, chosen: Mapping[str, object]) -> bool:
        """Tell whether every kind in the name was chosen."""
        return is_open(self.name, chosen)

    def is_named_by(self, key: str) -> bool:
        """Tell whether a key of ``search.narrow`` is its name, with all, some or none of its kinds; * is any part."""
        wanted, own = key.split("."), self.name.split(".")
        return len(wanted) == len(own) and all(
            part in {whole, path_of(whole), "*"} for part, whole in zip(wanted, own, strict=True)
        )

    @cached_property
    def choices(self) -> tuple[Value, ...]:
        """The values to choose among; none if it is a range."""
        return self.mark.values if isinstance(self.mark, Choice) else ()

    def admits(self, value: object) -> bool:
        """Tell whether a value may be chosen."""
        match self.mark:
            case Choice(values):
                return value in values
            case Range(low, high):
                return isinstance(value, int | float) and low <= value <= high

    def nearest(self, value: Value) -> Value | None:
        """Return the value if it is admitted, else the nearest bound of a range; None for choices."""
        if isinstance(self.mark, Range) and not isinstance(value, str):
            bounded = min(max(value, self.mark.low), self.mark.high)
            return int(bounded) if self.is_integer else bounded
        return value if self.admits(value) else None

    @property
    def ends(self) -> tuple[Value, ...]:
        """The choices, or the bounds of a range."""
        return self.mark.values if isinstance(self.mark, Choice) else (self.mark.low, self.mark.high)

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna calls it."""
        match self.mark:
            case Choice(values):
                return CategoricalDistribution(values)
            case Range(low, high, log) if self.is_integer:
                return IntDistribution(int(low), int(high), log=log)
            case Range(low, high, log):
                return FloatDistribution(low, high, log=log)

    @cached_property
    def is_categorical(self) -> bool:
        """Whether its values have no order."""
        return any(isinstance(value, str | bool) for value in self.choices)

    @cached_property
    def _places(self) -> Mapping[Value, float]:
        """Where its choices lie, as in ``position``."""
        if self.is_categorical:
            return {value: float(number) for number, value in enumerate(self.choices)}
        return {value: number / max(len(self.choices) - 1, 1) for number, value in enumerate(sorted(self.choices))}

    def position(self, value: Value) -> float:
        """Return where a value lies between 0 and 1, choices evenly spaced; of a category its number."""
        match self.mark:
            case Choice():
                return self._places[value]
            case Range(low, high, log):
                at, ends = float(value), (float(low), float(high))
                if log:
                    at, ends = math.log(at), (math.log(low), math.log(high))
                return (at - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.0

    def at(self, share: float) -> Value:
        """Return the value at a share of all from 0 to 1: equal shares hold as many choices, or as much of a range."""
        match self.mark:
            case Choice(values):
                return values[min(int(share * len(values)), len(values) - 1)]
            case Range(low, high, log):
                share = min(max(share, 0.0), 1.0)
                value = low * (high / low) ** share if log else low + (high - low) * share
                return round(value) if self.is_integer else min(max(value, low), high)

    def near(self, value: Value, generator: np.random.Generator) -> list[Value]:
        """Return the other choices, or values of a range a little and a little more to either side."""
        if self.choices:
            return [choice for choice in self.choices if choice != value]
        around = (self.at(self.position(value) + step * (0.5 + generator.random())) for step in NEAR)
        return [near for near in dict.fromkeys(around) if near != value]

    def suggest(self, trial: Trial) -> Value:
        """Let a trial of Optuna's choose."""
        match self.mark:
            case Choice(values):
                chosen: Value = trial.suggest_categorical(self.name, values)
                return chosen
            case Range(low, high, log) if self.is_integer:
                return int(trial.suggest_int(self.name, int(low), int(high), log=log))
            case Range(low, high, log):
                return float(trial.suggest_float(self.name, low, high, log=log))


@dataclass(frozen=True)
class Space:
    """All points: each has a value for every dimension that its kinds open."""

    dimensions: tuple[Dimension, ...]
    """A union's kind comes before that kind's own."""

    @classmethod
    def read(cls, written: Sequence[Mapping[str, Any]]) -> Self:
        """Read what ``written`` wrote."""
        return cls(tuple(Dimension(**{**each, "mark": _mark(each["mark"])}) for each in written))

    @property
    def written(self) -> list[dict[str, JsonValue]]:
        """The dimensions as JSON writes them."""
        read: list[dict[str, JsonValue]] = json.loads(json.dumps([asdict(dimension) for dimension in self.dimensions]))
        return read

    @property
    def is_single_point(self) -> bool:
        """Whether every dimension is pinned to one value."""
        return all(len({*dimension.ends}) < 2 for dimension in self.dimensions)

    @cached_property
    def is_categorical(self) -> NDArray[np.bool_]:
        """Which dimensions have values without an order."""
        return np.array([dimension.is_categorical for dimension in self.dimensions])

    @cached_property
    def _opened(self) -> Mapping[tuple[str, Value], Sequence[Dimension]]:
        """The dimensions by the innermost union and kind that open them; those that are always open by empty words."""
        opened: dict[tuple[str, Value], list[Dimension]] = {}
        for dimension in self.dimensions:
            innermost = [("", ""), *kinds_of(dimension.name).items()][-1]
            opened.setdefault(innermost, []).append(dimension)
        return opened

    @cached_property
    def _columns(self) -> Mapping[str, int]:
        return {dimension.name: column for column, dimension in enumerate(self.dimensions)}

    @cached_property
    def _defaults(self) -> NDArray[np.float64]:
        return np.array([dimension.position(dimension.default) for dimension in self.dimensions])

    def draw(self, generator: np.random.Generator) -> Point:
        """Draw a point at random."""
        shares = iter(generator.random(len(self.dimensions)).tolist())
        return self.completed({}, lambda dimension: dimension.at(next(shares)))

    def neighbours(self, point: Point, generator: np.random.Generator) -> list[Point]:
        """Return points that differ in one dimension; what another kind opens stands at its defaults."""
        return [
            self.completed({**point, dimension.name: value}, lambda opened: opened.default)
            for dimension in self.dimensions
            if dimension.name in point
            for value in dimension.near(point[dimension.name], generator)
        ]

    def completed(self, values: Point, missing: Callable[[Dimension], Value]) -> Point:
        """Return a point with the given values as far as they are open, and others for those that are missing."""
        point: dict[str, Value] = {}

        def add(opened: Sequence[Dimension]) -> None:
            for dimension in opened:
                name = dimension.name
                value = point[name] = values[name] if name in values else missing(dimension)
                if more := self._opened.get((name, value)):
                    add(more)

        add(self._opened.get(("", ""), ()))
        return point

    def admitted(self, values: Point) -> Point | None:
        """Return the point of this space that is nearest to values, with defaults for those that it lacks.

        It is None if they name a kind that is unknown here.
        """
        known = {
            dimension.name: near
            for dimension in self.dimensions
            if dimension.name in values and (near := dimension.nearest(values[dimension.name])) is not None
        }
        if any(name.endswith(".kind") and name not in known for name in values):
            return None
        return self.completed(known, lambda dimension: dimension.default)

    def distributions(self, point: Point) -> dict[str, BaseDistribution]:
        """Return what Optuna calls the dimensions that are open to a point."""
        return {dimension.name: dimension.distribution for dimension in self.dimensions if dimension.name in point}

    def positions(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """Return where points lie, as (point, dimension); what is closed to one stands at its default."""
        rows = np.tile(self._defaults, (len(points), 1))
        for row, point in zip(rows, points, strict=True):
            columns = [self._columns[name] for name in point]
            row[columns] = [
                self.dimensions[column].position(value) for column, value in zip(columns, point.values(), strict=True)
            ]
        return rows


def _mark(written: Mapping[str, Any]) -> Range | Choice:
    return Choice(*written["values"]) if "values" in written else Range(**written)
