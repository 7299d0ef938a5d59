"""What a model costs whoever uses it, as it can be told before it is trained, and which limits a sweep sets to that."""

import time
from collections.abc import Callable, Mapping

import torch

from rayology.bundle import draw, inference_weights
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import Classifies, Generates, Model, Reconstructs, Segments
from rayology.training.memory import footprint

__all__ = ["COSTS", "violations"]

IMAGES = 8  # in a batch that is timed
ROUNDS = 3


def num_parameters(model: Model) -> float:
    """Count the weights that a bundle keeps."""
    return float(sum(weight.numel() for weight in inference_weights(model).values()))


@torch.inference_mode()
def ms_per_image(model: Model) -> float:
    """Return the milliseconds of a core of this machine for an image of a small batch, the fastest of a few."""
    seconds, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(1 + ROUNDS):  # the first one warms up
            began_at = time.perf_counter()
            _answer(model)
            seconds.append(time.perf_counter() - began_at)
    finally:
        torch.set_num_threads(threads)
    return 1000 * min(seconds[1:]) / IMAGES


def _answer(model: Model) -> None:
    """Have a model do what it is served for."""
    images = torch.zeros((IMAGES, *model.image.shape))
    match model:
        case Generates():
            draw(model, count=IMAGES, seed=0)
        case Classifies():
            model.class_logits(images)
        case Segments():
            model.mask_logits(images)
        case Reconstructs():
            model.reconstruct(images, torch.zeros(IMAGES, dtype=torch.int64))


COSTS: Mapping[str, Callable[[Model], float]] = {"parameters": num_parameters, "ms_per_image": ms_per_image}
"""What may be weighed against the objective as ``search.tradeoffs``, less of it being better."""


def violations(experiment: Experiment, image: ImageSpec) -> Mapping[str, float]:
    """Return by how much an experiment's model is over which limit of the search; empty if it keeps to all.

    Raises:
        ConfigError: the model takes no such images.
    """
    wanted, found = experiment.search, dict[str, float]()
    if wanted.max_parameters is not None:
        with torch.device("meta"):
            found["max_parameters"] = num_parameters(experiment.model.build(image)) - wanted.max_parameters
    if wanted.max_ms_per_image is not None:
        found["max_ms_per_image"] = ms_per_image(experiment.model.build(image).eval()) - wanted.max_ms_per_image
    if wanted.max_memory_gb is not None:
        peak = footprint(experiment, image, torch.device("cpu")).peak(experiment)
        found["max_memory_gb"] = peak / 2**30 - wanted.max_memory_gb
    return {name: over for name, over in found.items() if over > 0}
