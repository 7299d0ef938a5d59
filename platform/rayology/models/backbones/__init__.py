"""The networks inside the models: one file each, joined in ``BackboneConfig``."""

from rayology.models.backbones.resnet import Decoder, Encoder, ResNetConfig

__all__ = ["BackboneConfig", "Decoder", "Encoder", "ResNetConfig"]

BackboneConfig = ResNetConfig
