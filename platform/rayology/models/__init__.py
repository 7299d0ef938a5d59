"""The models: one file each, joined in ``ModelConfig``; a new one is a file and a name here."""

from typing import Annotated

from pydantic import Field

from rayology.models.base import Draws, Model, Phase, Reconstructs
from rayology.models.gan import Gan, GanConfig
from rayology.models.vae import Vae, VaeConfig

__all__ = ["Draws", "Gan", "GanConfig", "Model", "ModelConfig", "Phase", "Reconstructs", "Vae", "VaeConfig"]

ModelConfig = Annotated[VaeConfig | GanConfig, Field(discriminator="kind")]
