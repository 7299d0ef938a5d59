"""The search space: what the marks on an experiment's fields say, conditional on the kind of each union."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from optuna import Trial
from pydantic.fields import FieldInfo

from rayology.config import Choice, Config, Range, alternatives
from rayology.errors import ConfigError
from rayology.experiment import Experiment

__all__ = ["Dimension", "dimensions", "path_of", "starting_points", "suggest"]

SEARCHED = ("model", "optimizer")  # a sweep compares models on one dataset and one schedule

Value = str | float | bool


@dataclass(frozen=True)
class Dimension:
    """One value to search.

    Behind each colon its name tells the kind that it belongs to: ``model:vae.latents`` is open to a VAE alone.
    """

    name: str
    mark: Range | Choice
    is_integer: bool = False

    def is_open(self, chosen: Mapping[str, object]) -> bool:
        """Tell whether every kind that the name asks for was chosen."""
        return all(
            chosen.get(f"{self.name[: colon.start()]}.kind") == colon[1] for colon in re.finditer(r":(\w+)", self.name)
        )

    def belongs_to(self, kinds: Sequence[Value]) -> bool:
        """Tell whether one of these kinds of model has this dimension."""
        kind = re.match(r"model:(\w+)", self.name)
        return kind is None or kind[1] in kinds

    def admits(self, value: object) -> bool:
        """Tell whether a value may be chosen."""
        match self.mark:
            case Choice(values):
                return value in values
            case Range(low, high):
                return isinstance(value, int | float) and low <= value <= high

    def suggest(self, trial: Trial) -> Value:
        """Let a trial choose."""
        match self.mark:
            case Choice(values):
                chosen: Value = trial.suggest_categorical(self.name, values)
                return chosen
            case Range(low, high, log) if self.is_integer:
                return int(trial.suggest_int(self.name, int(low), int(high), log=log))
            case Range(low, high, log):
                return float(trial.suggest_float(self.name, low, high, log=log))


def dimensions(experiment: Experiment) -> tuple[Dimension, ...]:
    """Return all that a sweep searches, a union's kind before that kind's own fields.

    Raises:
        ConfigError: ``search.narrow`` names no such field, or widens what is marked.
    """
    found = [dimension for root in SEARCHED for dimension in _below(type(experiment).model_fields[root], root)]
    narrow = experiment.search.narrow
    if kinds := narrow.get("model.kind"):
        found = [dimension for dimension in found if dimension.belongs_to(kinds)]
    unknown = narrow.keys() - {name for dimension in found for name in (dimension.name, path_of(dimension.name))}
    if unknown:
        known = ", ".join(sorted({path_of(dimension.name) for dimension in found}))
        raise ConfigError(f"search.narrow: {', '.join(sorted(unknown))} is not searched; these are: {known}")
    return tuple(_narrowed(dimension, narrow) for dimension in found)


def suggest(trial: Trial, experiment: Experiment) -> dict[str, Value]:
    """Let a trial choose each dimension that its earlier choices open; return the values by name."""
    chosen: dict[str, Value] = {}
    for dimension in dimensions(experiment):
        if dimension.is_open(chosen):
            chosen[dimension.name] = dimension.suggest(trial)
    return chosen


def starting_points(experiment: Experiment) -> tuple[dict[str, object], ...]:
    """Return what to try first, by name: the experiment as it stands, then the defaults of each other kind of model."""
    searched = dimensions(experiment)
    kinds = next(dimension.mark for dimension in searched if dimension.name == "model.kind")
    others = [kind for kind in getattr(kinds, "values", ()) if kind != experiment.model.kind]
    bases = [experiment, *(experiment.patched({"model": {"kind": kind}}) for kind in others)]
    points = []
    for base in bases:
        point: dict[str, object] = {}
        for dimension in searched:
            if dimension.is_open(point) and dimension.admits(value := attrgetter(path_of(dimension.name))(base)):
                point[dimension.name] = value
        if "model.kind" in point:
            points.append(point)
    return tuple(points)


def path_of(name: str) -> str:
    """Return the field that a dimension sets.

    >>> path_of("model:vae.backbone.width")
    'model.backbone.width'
    """
    return re.sub(r":\w+", "", name)


def _below(field: FieldInfo, name: str) -> list[Dimension]:
    """List the dimensions of one field: its own mark, or those of the configs that it may hold."""
    for mark in field.metadata:
        if isinstance(mark, Range | Choice):
            return [Dimension(name, mark, is_integer=field.annotation is int)]
    match alternatives(field.annotation):
        case (config,):
            return _inside(config, name)
        case configs:
            kinds = {str(config.model_fields["kind"].default): config for config in configs}
            union = [Dimension(f"{name}.kind", Choice(*kinds))] if kinds else []
            return union + [found for kind, config in kinds.items() for found in _inside(config, f"{name}:{kind}")]


def _inside(config: type[Config], name: str) -> list[Dimension]:
    return [found for key, field in config.model_fields.items() for found in _below(field, f"{name}.{key}")]


def _narrowed(dimension: Dimension, narrow: Mapping[str, Sequence[Value]]) -> Dimension:
    """Apply what a sweep says of a dimension, by its name or else by its field."""
    wanted = narrow.get(dimension.name, narrow.get(path_of(dimension.name)))
    if wanted is None:
        return dimension
    match dimension.mark:
        case Range(low, high, log):
            numbers = [bound for bound in wanted if isinstance(bound, int | float)]
            if len(numbers) != 2 or len(wanted) != 2 or not low <= numbers[0] <= numbers[1] <= high:
                raise ConfigError(f"search.narrow.{dimension.name}: write two numbers from {low:g} to {high:g}")
            return replace(dimension, mark=Range(numbers[0], numbers[1], log=log))
        case Choice(values):
            kept = [value for value in values if value in wanted]
            if len(kept) != len(set(wanted)):
                raise ConfigError(f"search.narrow.{dimension.name}: write some of {', '.join(map(str, values))}")
            return replace(dimension, mark=Choice(*kept))
