"""How good a model is on images that it never saw: for each capability, what is measured of it."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

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
from rayology.noise import Noise, NoiseSpec, indexed_noise, placed
from rayology.training.gradients import ALONE, Workers

__all__ = ["EVALUATIONS", "Evaluation", "Evaluator"]

QUICK_FIGURES = ("mmd", "spectrum", "histogram", "diversity")
MOST_QUICK = 256  # images in an evaluation during training
MOST_FULL = 2048
SLICE = 512 * 512  # values of the largest image that counts as one of those; a volume counts as several
MOST_VALUES = 2**28  # of training images that samples are compared with: 1 GiB in float32
COPIES = 4  # of an image that passes a model: what the widest layers hold
MOST_AT_ONCE = 32  # images that pass a model, so that several workers have a share of few; 64 are no faster


class Evaluator:
    """Compare what a model makes with one split of a dataset, the validation split by default.

    Models run in full precision here, as they are served. Sample ``i`` is the one that a server draws for the
    seed, index ``i`` and the class of unseen image ``i``.

    Processes share what passes the model, in parts whose size does not depend on their number; the leading one holds
    the images and computes the figures, so that they are the same bits as those of one process. Of each image as many
    ``particles`` are drawn for the bound on its likelihood; the more, the tighter.
    """

    def __init__(  # noqa: PLR0913 - what is measured, where, and how closely
        self,
        seed: int,
        data: PreparedDataset,
        device: torch.device,
        *,
        split: SplitName = "validation",
        values_at_once: int = VALUES_AT_ONCE,
        workers: Workers = ALONE,
        particles: int = 1,
    ) -> None:
        self.seed = seed
        self._particles = particles
        self.values_at_once = values_at_once
        self._device = device
        self._train, self._unseen = data.split("train"), data.split(split)
        self._shape = data.info.image.shape
        self._at_once = min(MOST_AT_ONCE, num_at_once(values_at_once, self._shape, copies=COPIES))
        self._workers = workers

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
        """Return the cheap figures of all that the model can do: those that a search may follow.

        All processes call this, or ``full``; the leading one gets the figures. If one fails, all raise its error.
        """
        measures = [(each.make, each.quick) for each in _evaluations_of(model)]
        return self._measured(model, MOST_QUICK, lambda: self.few_unseen, measures)

    def full(self, model: Model, *, only: Collection[str] = ()) -> dict[str, float]:
        """Return every figure, or those of ``only`` some capabilities, with intervals.

        ``num_images`` is how many images were measured if not all were.
        """
        measures = [(each.make, each.full) for each in _evaluations_of(model, only)]
        num_images = self._count(self._unseen, self._num_drawn(MOST_FULL))
        count = {"num_images": float(num_images)} if num_images < len(self._unseen) else {}
        return self._measured(model, MOST_FULL, lambda: self.unseen, measures) | count

    def _measured(
        self, model: Model, most: int, unseen: Callable[[], Batch], measures: "Sequence[tuple[Make, Measure]]"
    ) -> dict[str, float]:
        """Have each process pass its rows of the unseen images, and the leading one compute the figures of all."""
        workers, count = self._workers, self._count(self._unseen, self._num_drawn(most))
        rows = workers.rows(count, self._at_once)

        def made(make: Make) -> Tensor:
            own = unseen()[rows] if workers.leads else self._draw(self._unseen, self._num_drawn(most), rows)
            return make(self, model, own, rows.start)

        found: dict[str, float] = {}
        for make, measure in measures:
            whole = workers.joined(partial(made, make), count, self._at_once)
            found |= workers.in_all(partial(measure, self, whole) if workers.leads else dict[str, float])
        return found

    @torch.inference_mode()
    def sample(self, model: Model, labels: Tensor, first: int = 0) -> Tensor:
        """Draw an image for each label, from an index on."""
        assert isinstance(model, Generates)  # noqa: S101 - the table below asks only what a model can do
        noise = self._noise(model, model.sample_noise(), first, len(labels))
        return _whole(model.sample(*part) for part in zip(noise, labels.split(self._at_once), strict=False))

    @torch.inference_mode()
    def reconstruct(self, model: Model, unseen: Batch) -> Tensor:
        """Return the reconstruction of each image."""
        assert isinstance(model, Reconstructs)  # noqa: S101 - as above
        return _whole(model.reconstruct(part.images, part.labels) for part in self._parts(model, unseen))

    @torch.inference_mode()
    def bits_per_dim(self, model: Model, unseen: Batch, first: int = 0) -> Tensor:
        """Return the bound on the likelihood of each image, the first of which has an index."""
        assert isinstance(model, BoundsLikelihood)  # noqa: S101 - as above
        noise = self._noise(model, model.bound_noise(self._particles), first, len(unseen))
        return _whole(model.bits_per_dim(*part) for part in zip(self._parts(model, unseen), noise, strict=True))

    @torch.inference_mode()
    def classify(self, model: Model, unseen: Batch) -> Tensor:
        """Return the scores of the classes of each image."""
        assert isinstance(model, Classifies)  # noqa: S101 - as above
        return _whole(model.class_logits(part.images) for part in self._parts(model, unseen))

    @torch.inference_mode()
    def segment(self, model: Model, unseen: Batch) -> Tensor:
        """Return the scores of the regions at each pixel."""
        assert isinstance(model, Segments)  # noqa: S101 - as above
        return _whole(model.mask_logits(part.images) for part in self._parts(model, unseen))

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

    def _noise(self, model: Model, specs: Mapping[str, NoiseSpec], first: int, count: int) -> Iterator[Noise]:
        """Draw for the samples from an index on, in the same parts."""
        for start in range(first, first + count, self._at_once):
            indices = range(start, min(start + self._at_once, first + count))
            yield placed(indexed_noise(specs, seed=self.seed, indices=indices), next(model.parameters()))

    def _count(self, split: Split, most: int) -> int:
        """Return how many images are drawn: two at least make a comparison."""
        return min(max(most, 2), len(split))

    def _draw(self, split: Split, most: int, rows: slice = slice(None)) -> Batch:
        """Draw images of a split, all of them or a fair part, the same each time, and return some rows of them."""
        indices = split.sampler(seed=0).at(np.arange(self._count(split, most)))
        return split.batch(indices[rows], device=self._device)


Make = Callable[[Evaluator, Model, Batch, int], Tensor]
"""Has a model make something of unseen images, the first of which has an index."""
Measure = Callable[[Evaluator, Tensor], dict[str, float]]
"""Computes figures of what was made of all unseen images."""


@dataclass(frozen=True)
class Evaluation:
    """How one capability is measured."""

    make: Make
    quick: Measure
    """Function that measures the cheap figures, at each evaluation during training."""
    full: Measure
    """Function that measures all figures of a finished model."""


def _quick_samples(evaluator: Evaluator, samples: Tensor) -> dict[str, float]:
    return compare_samples(samples, evaluator.few_reference, only=QUICK_FIGURES, resamples=0)


def _full_samples(evaluator: Evaluator, samples: Tensor) -> dict[str, float]:
    return compare_samples(samples, evaluator.reference)


def _reconstructions(evaluator: Evaluator, made: Tensor, unseen: Batch) -> dict[str, float]:
    return compare_reconstructions(made, unseen.images, values_at_once=evaluator.values_at_once)


def _bound(_: Evaluator, bits: Tensor, __: Batch) -> dict[str, float]:
    return {"bound": float(bits.mean())}


def _classes(_: Evaluator, logits: Tensor, unseen: Batch) -> dict[str, float]:
    return compare_labels(logits, unseen.labels)


def _regions(_: Evaluator, logits: Tensor, unseen: Batch) -> dict[str, float]:
    assert unseen.masks is not None, "a model that segments is built from a dataset with masks"  # noqa: S101
    return compare_masks(logits, unseen.masks)


def _of_given(make: Make, measure: Callable[[Evaluator, Tensor, Batch], dict[str, float]]) -> Evaluation:
    """Measure few or many unseen images in the same way."""
    return Evaluation(
        make,
        quick=lambda evaluator, made: measure(evaluator, made, evaluator.few_unseen),
        full=lambda evaluator, made: measure(evaluator, made, evaluator.unseen),
    )


EVALUATIONS: Mapping[str, Evaluation] = {
    "generate": Evaluation(
        lambda evaluator, model, unseen, first: evaluator.sample(model, unseen.labels, first),
        _quick_samples,
        _full_samples,
    ),
    "reconstruct": _of_given(
        lambda evaluator, model, unseen, _: evaluator.reconstruct(model, unseen), _reconstructions
    ),
    "bound": _of_given(Evaluator.bits_per_dim, _bound),
    "classify": _of_given(lambda evaluator, model, unseen, _: evaluator.classify(model, unseen), _classes),
    "segment": _of_given(lambda evaluator, model, unseen, _: evaluator.segment(model, unseen), _regions),
}
"""Evaluation of each capability; one that is not here has no figures."""


def _evaluations_of(model: Model, only: Collection[str] = ()) -> list[Evaluation]:
    """Return how a model is measured."""
    names = [name for name in capabilities(type(model)) if name in EVALUATIONS]
    return [EVALUATIONS[name] for name in names if not only or name in only]


def _whole(parts: Iterable[Tensor]) -> Tensor:
    """Join what was made part by part, if there is any, laid out alike whoever made it."""
    made = [*parts]
    return torch.cat(made).contiguous() if made else torch.empty(0)
