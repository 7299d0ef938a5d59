"""Figures read from nearest neighbours: precision and recall of samples, and copies of training images."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rayology.metrics.metric import AtMost, Comparison, Estimate, SampleMetric

__all__ = ["COPIES", "PRECISION", "RECALL"]

FEWEST = 1000  # below, the spheres around the images are so large that both shares say little
NEIGHBOURS = 3  # Kynkäänniemi et al. 2019
ROUNDING = 1e-4  # an exact copy lies this near, however near real images come

Points = Float[Tensor, "image feature"]


def covered(points: Points, centres: Float[Tensor, "centre feature"]) -> Bool[Tensor, " image"]:
    """Tell which points lie in a sphere around a centre that reaches its third neighbour (Kynkäänniemi 2019, eq. 1)."""
    to_itself_and_three = torch.cdist(centres, centres).topk(NEIGHBOURS + 1, dim=1, largest=False).values
    return (torch.cdist(points, centres) <= to_itself_and_three[:, -1]).any(dim=1)


def _precision(comparison: Comparison) -> Estimate | None:
    if comparison.real_count < FEWEST:
        return None
    samples, real, train = _points(comparison)
    return Estimate(value=_share(covered(samples, real)), real=_share(covered(train, real)))


def _recall(comparison: Comparison) -> Estimate | None:
    if comparison.real_count < FEWEST:
        return None
    samples, real, train = _points(comparison)
    return Estimate(value=_share(covered(real, samples)), real=_share(covered(real, train)))


def _copies(comparison: Comparison) -> Estimate:
    reference = comparison.reference
    nearer_than = max(reference.copy_distance, ROUNDING)
    nearest = reference.nearest_training(comparison.samples)
    return Estimate(value=_share(nearest < nearer_than), real=_share(reference.nearest_of_real < nearer_than))


def _points(comparison: Comparison) -> tuple[Points, Points, Points]:
    reference, count = comparison.reference, comparison.real_count
    sets = (comparison.samples, reference.real, reference.train)
    samples, real, train = (reference.scale(images.features[:count]) for images in sets)
    return samples, real, train


def _share(which: Bool[Tensor, " image"]) -> float:
    return float(which.double().mean())


PRECISION = SampleMetric(
    name="precision",
    group="fidelity of samples",
    direction="max",
    unit="share",
    meaning="the share of samples that lie among real images; from 1,000 images up",
    blind_to="a lost class: every sample may still look real",
    measure=_precision,
)
RECALL = SampleMetric(
    name="recall",
    group="diversity of samples",
    direction="max",
    unit="share",
    meaning="the share of real images that lie among samples; from 1,000 images up",
    blind_to="slight blur and noise, and a lost class that resembles another",
    measure=_recall,
)
COPIES = SampleMetric(
    name="copies",
    group="copies among samples",
    direction="min",
    unit="share",
    meaning="the share of samples nearer to a training image than 95 % of unseen real images are",
    blind_to="blur, noise and a lost class: they bring samples hardly any nearer to a training image",
    gate=AtMost(0.2, fault="copies training images"),
    advice="so many of its samples are copies of training images; train on more patients, or for fewer steps, or for "
    "more if all samples look alike",
    measure=_copies,
)
