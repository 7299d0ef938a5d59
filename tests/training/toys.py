"""Models that prove the interface: one class each, none of them worth keeping."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rayology.image import Batch, ImageSpec
from rayology.models import Model, Outcome, Phase
from rayology.models.base import BaseModelConfig
from rayology.noise import Noise


class ClassifierConfig(BaseModelConfig):
    kind: Literal["toy_classifier"] = "toy_classifier"

    @classmethod
    def builds(cls) -> type[Model]:
        return Classifier

    def build(self, image: ImageSpec) -> Model:
        return Classifier(image)


class Classifier(Model):
    inference_modules: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, image: ImageSpec) -> None:
        super().__init__(image)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(image.grid.num_values, len(image.classes)))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("classifier", tuple(self.parameters()), self._terms),)

    def class_logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def _terms(self, batch: Batch, _: Noise) -> Outcome:
        return Outcome(
            {"loss": functional.cross_entropy(self.class_logits(batch.images), batch.labels, reduction="none")}
        )


class SegmenterConfig(BaseModelConfig):
    kind: Literal["toy_segmenter"] = "toy_segmenter"

    @classmethod
    def builds(cls) -> type[Model]:
        return Segmenter

    def build(self, image: ImageSpec) -> Model:
        return Segmenter(image)


class Segmenter(Model):
    inference_modules: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, image: ImageSpec) -> None:
        super().__init__(image)
        self.network = nn.Conv2d(image.channels, 1 + len(image.masks), 3, padding=1)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("segmenter", tuple(self.parameters()), self._terms),)

    def mask_logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def _terms(self, batch: Batch, _: Noise) -> Outcome:
        assert batch.masks is not None
        loss = functional.cross_entropy(self.mask_logits(batch.images), batch.masks.long(), reduction="none")
        return Outcome({"loss": loss.flatten(1).mean(1)})


class CodesConfig(BaseModelConfig):
    kind: Literal["toy_codes"] = "toy_codes"

    @classmethod
    def builds(cls) -> type[Model]:
        return Codes

    def build(self, image: ImageSpec) -> Model:
        return Codes(image)


class Codes(Model):
    """Grey levels as a codebook, with how often each is used."""

    inference_modules: ClassVar[tuple[str, ...]] = ("levels", "usage")
    usage: Tensor

    def __init__(self, image: ImageSpec) -> None:
        super().__init__(image)
        self.levels = nn.Parameter(torch.linspace(-1.0, 1.0, 4))
        self.register_buffer("usage", torch.zeros(4))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("codes", tuple(self.parameters()), self._terms),)

    def after_step(self, sums: Mapping[str, Tensor]) -> None:
        self.usage.mul_(0.9).add_(sums["codes/usage"])

    def reconstruct(self, images: Tensor, labels: Tensor) -> Tensor:
        del labels
        return self.levels[self._codes(images)]

    def _codes(self, images: Tensor) -> Tensor:
        return (images[..., None] - self.levels).abs().argmin(-1)

    def _terms(self, batch: Batch, _: Noise) -> Outcome:
        codes = self._codes(batch.images)
        error = (batch.images - self.levels[codes]).square().flatten(1).mean(1)
        return Outcome({"error": error}, {"usage": codes.flatten().bincount(minlength=4).to(self.usage)})


TOYS = (ClassifierConfig(), SegmenterConfig(), CodesConfig())
ToyConfig = Annotated[ClassifierConfig | SegmenterConfig | CodesConfig, Field(discriminator="kind")]
