"""How good a model is on images that it never saw: for each capability, what is measured of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from rayology.data import PreparedDataset, Split
from rayology.data.splits import SplitName
from rayology.image import VALUES_AT_ONCE, Batch, num_at_once
from rayology.metrics import Reference, compare_labels, compare_masks, compare_reconstructions, compare_samples
from rayology.models import (
    BoundsLikelihood,
    Classifies,
    Generates,
    Model,
    Reconstructs,
    Segments,
    capabilities,
)
from rayology.noise import Noise, NoiseSpec, indexed_noise, placed, rows_of

__all__ = ["EVALUATIONS", "Evaluation", "Evaluator"]

QUICK_FIGURES = ("mmd", "spectrum", "histogram")
MOST_QUICK = 256  # images in an evaluation during training
MOST_FULL = 2048
SLICE = 512 * 512  # values of the largest image that counts as one of those; a volume counts as several
MOST_VALUES = 2**28  # of training images that samples are compared with: 1 GiB in float32
COPIES = 4  # of an image that passes a model: what the widest layers hold


class Evaluator:
    """Compare what a model makes with one split of a dataset, the validation split by default.

    Models run in full precision here, as they are served. Sample ``i`` is the one that a server draws for the
    seed, index ``i`` and the class of unseen image ``i``.
    """

    def __init__(
        self,
        seed: int,
        data: PreparedDataset,
        device: torch.device,
        *,
        split: SplitName = "validation",
        values_at_once: int = VALUES_AT_ONCE,
    ) -> None:
        self.seed = seed
        self.values_at_once = values_at_once
        self._device = device
        self._train, self._unseen = data.split("train"), data.split(split)
        self._shape = data.info.image.shape
        self._at_once = num_at_once(values_at_once, self._shape, copies=COPIES)

    @cached_property
    def train(self) -> Batch:
        """Training images in a random order that is the same each time: all that fit into a gibibyte."""
        return self._draw(self._train, MOST_VALUES // math.prod(self._shape))

    @cached_property
    def unseen(self) -> Batch:
        """As many images of the split as a full evaluation takes, in a random order that is the same each time."""
        return self._draw(self._unseen, self._num_drawn(MOST_FULL))

    @cached_property
    def few_unseen(self) -> Batch:
        """As many images of the split as a quick evaluation takes."""
        return self._draw(self._unseen, self._num_drawn(MOST_QUICK))

    @cached_property
    def reference(self) -> Reference:
        """Images that a full evaluation compares samples with."""
        return self._reference(self.unseen, self.train)

    @cached_property
    def few_reference(self) -> Reference:
        """Images that a quick evaluation compares samples with."""
        return self._reference(self.few_unseen, self._draw(self._train, self._num_drawn(MOST_QUICK)))

    def quick(self, model: Model) -> dict[str, float]:
        """Return the cheap figures of all that the model can do: those that a search may follow."""
        measures = [evaluation.quick for evaluation in _evaluations_of(model)]
        return {name: figure for measure in measures for name, figure in measure(self, model).items()}

    def full(self, model: Model) -> dict[str, float]:
        """Return every figure, with intervals; ``num_images`` is how many images were measured if not all were."""
        num_images = len(self.unseen)
        count = {"num_images": float(num_images)} if num_images < len(self._unseen) else {}
        measures = [evaluation.full for evaluation in _evaluations_of(model)]
        return {name: figure for measure in measures for name, figure in measure(self, model).items()} | count

    @torch.inference_mode()
    def sample(self, model: Model, labels: Tensor) -> Tensor:
        """Draw an image for each label."""
        assert isinstance(model, Generates)  # noqa: S101 - the table below asks only what a model can do
        noise = self._noise(model, model.sample_noise(), len(labels))
        return torch.cat([model.sample(*part) for part in zip(noise, labels.split(self._at_once), strict=True)])

    @torch.inference_mode()
    def reconstruct(self, model: Model, unseen: Batch) -> Tensor:
        """Return the reconstruction of each image."""
        assert isinstance(model, Reconstructs)  # noqa: S101 - as above
        return torch.cat([model.reconstruct(part.images, part.labels) for part in self._parts(model, unseen)])

    @torch.inference_mode()
    def bits_per_dim(self, model: Model, unseen: Batch) -> float:
        """Return the mean bound on the likelihood of the images."""
        assert isinstance(model, BoundsLikelihood)  # noqa: S101 - as above
        noise = self._noise(model, model.bound_noise(), len(unseen))
        bits = [model.bits_per_dim(*part) for part in zip(self._parts(model, unseen), noise, strict=True)]
        return float(torch.cat(bits).mean())

    @torch.inference_mode()
    def classify(self, model: Model, unseen: Batch) -> Tensor:
        """Return the scores of the classes of each image."""
        assert isinstance(model, Classifies)  # noqa: S101 - as above
        return torch.cat([model.class_logits(part.images) for part in self._parts(model, unseen)])

    @torch.inference_mode()
    def segment(self, model: Model, unseen: Batch) -> Tensor:
        """Return the scores of the regions at each pixel."""
        assert isinstance(model, Segments)  # noqa: S101 - as above
        return torch.cat([model.mask_logits(part.images) for part in self._parts(model, unseen)])

    def _num_drawn(self, most: int) -> int:
        """Return how many images cost what ``most`` slices do."""
        return most * SLICE // max(SLICE, math.prod(self._shape))

    def _reference(self, unseen: Batch, train: Batch) -> Reference:
        patient_safe = self._train.info.patient_safe
        return Reference(unseen.images, train.images, patient_safe=patient_safe, values_at_once=self.values_at_once)

    def _parts(self, model: Model, batch: Batch) -> list[Batch]:
        """Cut a batch into what passes a model at once."""
        dtype = next(model.parameters()).dtype
        return [replace(part, images=part.images.to(dtype)) for part in batch.split(self._at_once)]

    def _noise(self, model: Model, specs: Mapping[str, NoiseSpec], count: int) -> list[Noise]:
        """Draw for the samples from index 0 on, in the same parts."""
        noise = placed(indexed_noise(specs, seed=self.seed, indices=range(count)), next(model.parameters()))
        starts = range(0, count, self._at_once)
        return [rows_of(noise, slice(start, start + self._at_once)) for start in starts]

    def _draw(self, split: Split, most: int) -> Batch:
        """Draw images of a split, all of them or a fair part, the same each time; two at least make a comparison."""
        count = min(max(most, 2), len(split))
        return split.batch(split.sampler(seed=0).at(np.arange(count)), device=self._device)


@dataclass(frozen=True)
class Evaluation:
    """How one capability is measured."""

    quick: Callable[[Evaluator, Model], dict[str, float]]
    """Function that measures the cheap figures, at each evaluation during training."""
    full: Callable[[Evaluator, Model], dict[str, float]]
    """Function that measures all figures of a finished model."""


def _quick_samples(evaluator: Evaluator, model: Model) -> dict[str, float]:
    samples = evaluator.sample(model, evaluator.few_unseen.labels)
    return compare_samples(samples, evaluator.few_reference, only=QUICK_FIGURES, resamples=0)


def _full_samples(evaluator: Evaluator, model: Model) -> dict[str, float]:
    return compare_samples(evaluator.sample(model, evaluator.unseen.labels), evaluator.reference)


def _reconstructions(evaluator: Evaluator, model: Model, unseen: Batch) -> dict[str, float]:
    reconstructions = evaluator.reconstruct(model, unseen)
    return compare_reconstructions(reconstructions, unseen.images, values_at_once=evaluator.values_at_once)


def _bound(evaluator: Evaluator, model: Model, unseen: Batch) -> dict[str, float]:
    return {"bound": evaluator.bits_per_dim(model, unseen)}


def _classes(evaluator: Evaluator, model: Model, unseen: Batch) -> dict[str, float]:
    return compare_labels(evaluator.classify(model, unseen), unseen.labels)


def _regions(evaluator: Evaluator, model: Model, unseen: Batch) -> dict[str, float]:
    assert unseen.masks is not None, "a model that segments is built from a dataset with masks"  # noqa: S101
    return compare_masks(evaluator.segment(model, unseen), unseen.masks)


def _of_given(measure: Callable[[Evaluator, Model, Batch], dict[str, float]]) -> Evaluation:
    """Measure few or many unseen images in the same way."""
    return Evaluation(
        quick=lambda evaluator, model: measure(evaluator, model, evaluator.few_unseen),
        full=lambda evaluator, model: measure(evaluator, model, evaluator.unseen),
    )


EVALUATIONS: Mapping[str, Evaluation] = {
    "generate": Evaluation(_quick_samples, _full_samples),
    "reconstruct": _of_given(_reconstructions),
    "bound": _of_given(_bound),
    "classify": _of_given(_classes),
    "segment": _of_given(_regions),
}
"""Evaluation of each capability; one that is not here has no figures."""


def _evaluations_of(model: Model) -> list[Evaluation]:
    """Return how a model is measured."""
    return [EVALUATIONS[name] for name in capabilities(type(model)) if name in EVALUATIONS]
