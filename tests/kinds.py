"""Small models that together have every choice once, so that a new network, loss or prior is tested by being there."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import TypeAdapter

from rayology.config import Choice, Config, alternatives
from rayology.models import ModelConfig

__all__ = ["SMALL_MODELS", "covering", "name_of", "smallest"]

MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def smallest(config: type[Config]) -> dict[str, object]:
    """Return the values of a config with its least width."""
    values = config().model_dump(mode="json")
    if width := config.model_fields.get("width"):
        values["width"] = next(mark.ge for mark in width.metadata if hasattr(mark, "ge"))
    return values


def covering(config: type[Config]) -> Iterator[dict[str, object]]:
    """Yield few sets of values, in which every kind of every union and every choice of words is taken once."""
    axes = dict(_axes(config))
    for index in range(max(map(len, axes.values()), default=1)):
        # Each axis is one ahead of the last, so that unlike kinds meet.
        chosen = {name: axis[(index + ahead) % len(axis)] for ahead, (name, axis) in enumerate(axes.items())}
        yield {**config().model_dump(mode="json"), **chosen}


def _axes(config: type[Config]) -> Iterator[tuple[str, Sequence[object]]]:
    for name, field in config.model_fields.items():
        choices = next((mark.values for mark in field.metadata if isinstance(mark, Choice)), ())
        if len(groups := alternatives(field.annotation)) > 1:
            yield name, [smallest(group) for group in groups]
        elif any(isinstance(value, str | bool) for value in choices):
            yield name, choices


SMALL_MODELS = [MODEL.validate_python(values) for model in alternatives(ModelConfig) for values in covering(model)]


def name_of(model: ModelConfig) -> str:
    """Return the kind of a model and those of its parts, and whether its augmentation adapts."""
    parts = [value["kind"] for value in model.model_dump().values() if isinstance(value, Mapping) and "kind" in value]
    adaptive = ["adaptive"] if getattr(model, "adaptive", None) != getattr(type(model)(), "adaptive", None) else []
    return "-".join([model.kind, *parts, *adaptive])
