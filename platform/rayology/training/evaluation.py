"""How good a model is on images that it never saw."""

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rayology.data import PreparedDataset, Split
from rayology.data.splits import SplitName
from rayology.experiment import Experiment
from rayology.image import Batch
from rayology.metrics import Reference, compare_reconstructions, compare_samples
from rayology.models import Model, Reconstructs
from rayology.training.loop import keyed

__all__ = ["Evaluator"]

AT_A_GLANCE = ("mmd", "spectrum", "histogram")
MOST_GLANCED = 256  # images: what a look during training may cost
MOST_EXAMINED = 2048
SLICE = 512 * 512  # values of the largest image that counts as one of those; a volume counts as several
MOST_VALUES = 2**28  # of training images that samples are compared with: 1 GiB in float32
BATCH_SIZE = 64


class Evaluator:
    """Hold a model's samples and reconstructions against one split of a dataset, the validation split by default.

    Models run in full precision here, as they are served.
    """

    def __init__(
        self, experiment: Experiment, data: PreparedDataset, device: torch.device, *, split: SplitName = "validation"
    ) -> None:
        self._seed = experiment.seed
        self._device = device
        self._train, self._unseen = data.split("train"), data.split(split)
        self._num_values = math.prod(data.info.image.shape)  # of an image

    @cached_property
    def train(self) -> Batch:
        """Training images in a random order that is the same each time: all that fit into a gibibyte."""
        return self._draw(self._train, MOST_VALUES // self._num_values)

    @cached_property
    def unseen(self) -> Batch:
        """As many images of the split as are examined, in such an order."""
        return self._draw(self._unseen, _at_most(MOST_EXAMINED, self._num_values))

    def glance(self, model: Model) -> dict[str, float]:
        """Return the cheap figures: those that a search may follow, and of reconstructions if the model makes any."""
        figures = compare_samples(
            self.sample(model, self._glanced.labels), self._glanced_reference, only=AT_A_GLANCE, resamples=0
        )
        return figures | self._of_reconstructions(model, self._glanced)

    def examine(self, model: Model) -> dict[str, float]:
        """Return every figure there is, with intervals; ``examined`` says of how many images where not of all."""
        figures = compare_samples(self.sample(model, self.unseen.labels), self._reference(self.unseen, self.train))
        num_examined = len(self.unseen.labels)
        count = {"examined": float(num_examined)} if num_examined < len(self._unseen) else {}
        return figures | self._of_reconstructions(model, self.unseen) | count

    @torch.inference_mode()
    def sample(self, model: Model, labels: Tensor) -> Tensor:
        """Draw an image for each label."""
        parts = zip(self._noise(model, len(labels)).split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
        return torch.cat([model.sample(noise, own) for noise, own in parts])

    @cached_property
    def _glanced(self) -> Batch:
        return self._draw(self._unseen, _at_most(MOST_GLANCED, self._num_values))

    @cached_property
    def _glanced_reference(self) -> Reference:
        return self._reference(self._glanced, self._draw(self._train, _at_most(MOST_GLANCED, self._num_values)))

    def _reference(self, unseen: Batch, train: Batch) -> Reference:
        return Reference(unseen.images, train.images, patient_safe=self._train.info.patient_safe)

    @torch.inference_mode()
    def _of_reconstructions(self, model: Model, unseen: Batch) -> dict[str, float]:
        if not isinstance(model, Reconstructs):
            return {}
        noise = self._noise(model, len(unseen.labels))
        images = unseen.images.to(noise.dtype).split(BATCH_SIZE)
        parts = [Batch(*part) for part in zip(images, unseen.labels.split(BATCH_SIZE), strict=True)]
        decoded = torch.cat([model.reconstruct(part.images, part.labels) for part in parts])
        bound = torch.cat([model.bound(part, own) for part, own in zip(parts, noise.split(BATCH_SIZE), strict=True)])
        return {**compare_reconstructions(decoded, unseen.images), "bound": float(bound.mean())}

    def _noise(self, model: Model, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(keyed(self._seed, "evaluation"))
        dtype = next(model.parameters()).dtype
        return torch.randn(count, model.noise_size, generator=generator).to(self._device, dtype)

    def _draw(self, split: Split, most: int) -> Batch:
        """Draw images of a split, all of them or a fair part, the same each time; two at least make a comparison."""
        count = min(max(most, 2), len(split))
        return split.batch(split.walk(seed=0).at(np.arange(count)), device=self._device)


def _at_most(num_slices: int, num_values: int) -> int:
    """Return how many images of so many values take the place of slices; none is too small to count as one."""
    return num_slices * SLICE // max(SLICE, num_values)
