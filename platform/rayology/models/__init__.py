"""The models: one file each, joined in ``ModelConfig``; a new one is a file and a name here."""

from typing import Annotated

from pydantic import Field

from rayology.models.base import (
    CAPABILITIES,
    BoundsLikelihood,
    Classifies,
    Encodes,
    Generates,
    Model,
    Outcome,
    Phase,
    Reconstructs,
    Restores,
    ScoresAnomaly,
    Segments,
    capabilities,
)
from rayology.models.gan import Gan, GanConfig
from rayology.models.vae import Vae, VaeConfig

__all__ = [
    "CAPABILITIES",
    "BoundsLikelihood",
    "Classifies",
    "Encodes",
    "Gan",
    "GanConfig",
    "Generates",
    "Model",
    "ModelConfig",
    "Outcome",
    "Phase",
    "Reconstructs",
    "Restores",
    "ScoresAnomaly",
    "Segments",
    "Vae",
    "VaeConfig",
    "capabilities",
]

ModelConfig = Annotated[VaeConfig | GanConfig, Field(discriminator="kind")]
