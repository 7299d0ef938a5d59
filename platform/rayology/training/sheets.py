"""Sheets of what a model makes at an evaluation: the same samples and images each time, so that one sees a change."""

from collections.abc import Callable, Iterator, Mapping

import torch
from PIL import Image
from torch import Tensor

from rayology.models import Model, capabilities
from rayology.picture import labelled_sheet
from rayology.training.evaluation import Evaluator

__all__ = ["sheets"]

COLUMNS, MOST_ROWS = 4, 4


def sheets(evaluator: Evaluator, model: Model) -> Iterator[tuple[str, Image.Image]]:
    """Yield a sheet, with its name, of each capability that can be looked at.

    They show patients: what they are written into is for its owner alone.
    """
    for name in capabilities(type(model)):
        if name in ROWS:
            yield name, labelled_sheet(ROWS[name](evaluator, model), model.image.values)


def _samples(evaluator: Evaluator, model: Model) -> Mapping[str, Tensor]:
    """Draw a row of samples of each class, or rows of samples from index 0 on if the model knows no classes."""
    names = (
        model.image.classes[:MOST_ROWS] if model.conditional else [f"from {COLUMNS * row}" for row in range(MOST_ROWS)]
    )
    labels = torch.arange(len(names), device=next(model.parameters()).device) * model.conditional
    samples = evaluator.sample(model, labels.repeat_interleave(COLUMNS))
    return dict(zip(names, samples.split(COLUMNS), strict=True))


def _reconstructions(evaluator: Evaluator, model: Model) -> Mapping[str, Tensor]:
    """Reconstruct a row of unseen images."""
    real = evaluator.few_unseen[:COLUMNS]
    return {"real": real.images, "model": evaluator.reconstruct(model, real)}


ROWS: Mapping[str, Callable[[Evaluator, Model], Mapping[str, Tensor]]] = {
    "generate": _samples,
    "reconstruct": _reconstructions,
}
"""Images by the label of their row, for each capability that can be looked at."""
