"""How good a model is on images that it never saw."""

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rayology.data import PreparedDataset, Split
from rayology.data.splits import SplitName
from rayology.experiment import Experiment
from rayology.image import Batch, num_affordable
from rayology.metrics import Reference, compare_reconstructions, compare_samples
from rayology.models import Model, Reconstructs
from rayology.training.loop import keyed

__all__ = ["Evaluator"]

AT_A_GLANCE = ("mmd", "spectrum", "histogram")
MOST_GLANCED = 256  # images: what a look during training may cost
MOST_EXAMINED = 2048
SLICE = 512 * 512  # values of the largest image that counts as one of those; a volume counts as several
MOST_VALUES = 2**28  # of training images that samples are compared with: 1 GiB in float32
BATCH_SIZE = 64  # images of up to 64x64 that pass a model together; a volume of 64x64x64 passes alone


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
        self._shape = data.info.image.shape
        self._at_once = num_affordable(BATCH_SIZE, self._shape)

    @cached_property
    def train(self) -> Batch:
        """Training images in a random order that is the same each time: all that fit into a gibibyte."""
        return self._draw(self._train, MOST_VALUES // math.prod(self._shape))

    @cached_property
    def unseen(self) -> Batch:
        """As many images of the split as are examined, in such an order."""
        return self._draw(self._unseen, num_affordable(MOST_EXAMINED, self._shape, unit=SLICE))

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
        noise = self._noise(model, len(labels))
        parts = zip(noise.split(self._at_once), labels.split(self._at_once), strict=True)
        return torch.cat([model.sample(*part) for part in parts])

    @torch.inference_mode()
    def reconstruct(self, model: Reconstructs, unseen: Batch) -> Tensor:
        """Return what the model keeps of each image."""
        return torch.cat([model.reconstruct(part.images, part.labels) for part in self._parts(unseen)])

    @cached_property
    def _glanced(self) -> Batch:
        return self._draw(self._unseen, self._num_glanced)

    @cached_property
    def _glanced_reference(self) -> Reference:
        return self._reference(self._glanced, self._draw(self._train, self._num_glanced))

    @property
    def _num_glanced(self) -> int:
        return num_affordable(MOST_GLANCED, self._shape, unit=SLICE)

    def _reference(self, unseen: Batch, train: Batch) -> Reference:
        return Reference(unseen.images, train.images, patient_safe=self._train.info.patient_safe)

    @torch.inference_mode()
    def _of_reconstructions(self, model: Model, unseen: Batch) -> dict[str, float]:
        if not isinstance(model, Reconstructs):
            return {}
        noise = self._noise(model, len(unseen.labels))
        given = Batch(unseen.images.to(noise.dtype), unseen.labels)
        parts = zip(self._parts(given), noise.split(self._at_once), strict=True)
        bound = torch.cat([model.bound(*part) for part in parts])
        figures = compare_reconstructions(self.reconstruct(model, given), unseen.images)
        return figures | {"bound": float(bound.mean())}

    def _parts(self, batch: Batch) -> list[Batch]:
        """Cut a batch into what passes a model at once."""
        pairs = zip(batch.images.split(self._at_once), batch.labels.split(self._at_once), strict=True)
        return [Batch(*pair) for pair in pairs]

    def _noise(self, model: Model, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(keyed(self._seed, "evaluation"))
        dtype = next(model.parameters()).dtype
        return torch.randn(count, model.noise_size, generator=generator).to(self._device, dtype)

    def _draw(self, split: Split, most: int) -> Batch:
        """Draw images of a split, all of them or a fair part, the same each time; two at least make a comparison."""
        count = min(max(most, 2), len(split))
        return split.batch(split.walk(seed=0).at(np.arange(count)), device=self._device)
