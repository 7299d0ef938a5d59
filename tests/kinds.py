"""Small models of every kind on every backbone, so that a new one is tested by being there."""

from pydantic import TypeAdapter

from rayology.config import alternatives
from rayology.models import ModelConfig
from rayology.models.backbones import BackboneConfig

__all__ = ["SMALL_MODELS", "name_of"]

MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
SMALL_MODELS = [
    MODEL.validate_python({**model().model_dump(), "backbone": {**backbone().model_dump(), "width": 8}})
    for model in alternatives(ModelConfig)
    for backbone in alternatives(BackboneConfig)
]


def name_of(model: ModelConfig) -> str:
    """Return the kinds of a model and its backbone, and whether its augmentation adapts."""
    adaptive = "-adaptive" if getattr(model, "adaptive", None) != getattr(type(model)(), "adaptive", None) else ""
    return f"{model.kind}-{model.backbone.kind}{adaptive}"
