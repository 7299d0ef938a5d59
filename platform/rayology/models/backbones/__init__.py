"""The networks inside the models: one file each, joined in ``BackboneConfig``."""

from rayology.models.backbones.base import Activation, GridDecoder, GridEncoder, VectorDecoder, padded
from rayology.models.backbones.resnet import ResNetConfig

__all__ = ["Activation", "BackboneConfig", "GridDecoder", "GridEncoder", "ResNetConfig", "VectorDecoder", "padded"]

BackboneConfig = ResNetConfig
