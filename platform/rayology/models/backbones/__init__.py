"""The networks inside the models: one file each, joined in unions by ``kind``."""

from typing import Annotated

from pydantic import Field

from rayology.models.backbones.base import Activation, GridDecoder, GridEncoder, VectorDecoder, padded
from rayology.models.backbones.dense import DenseConfig
from rayology.models.backbones.densenet import DenseNetConfig
from rayology.models.backbones.resnet import ResNetConfig
from rayology.models.backbones.transformer import TransformerConfig
from rayology.models.backbones.unet import UnetConfig
from rayology.models.backbones.vgg import VggConfig

__all__ = [
    "Activation",
    "AdversaryConfig",
    "BackboneConfig",
    "DenseConfig",
    "DenseNetConfig",
    "GridDecoder",
    "GridEncoder",
    "ResNetConfig",
    "TransformerConfig",
    "TranslatorConfig",
    "UnetConfig",
    "VectorDecoder",
    "VggConfig",
    "padded",
]

BackboneConfig = Annotated[
    DenseConfig | VggConfig | DenseNetConfig | ResNetConfig | TransformerConfig, Field(discriminator="kind")
]
"""Networks between an image and a coarser grid, in either direction."""
AdversaryConfig = Annotated[BackboneConfig | UnetConfig, Field(discriminator="kind")]
"""Networks of a GAN: each backbone, and a U-Net."""
TranslatorConfig = Annotated[ResNetConfig | TransformerConfig | UnetConfig, Field(discriminator="kind")]
"""Networks from an image to one of the same size."""
