"""One version in memory: answers many requests at once, off the event loop."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayology.bundle import Bundle
from rayology.image import ImageSpec
from rayology.models import Model
from rayology.noise import placed
from rayology.serving.answer import Answer, encoded
from rayology.serving.batching import Batcher
from rayology.serving.schemas import Card, ImageCard, Limits
from rayology.serving.verbs import BatchItem, Verb, classes_of, verbs_of

__all__ = ["Predictor", "card_of"]

Array = NDArray[np.float32]
Request = TypeVar("Request")


def card_of(bundle: Bundle, model: Model, *, version: str, limits: Limits) -> Card:
    """Describe a bundle, and the model built from it, to those who call it."""
    manifest, image = bundle.manifest, model.image
    values = image.values
    return Card(
        version=version,
        kind=manifest.model.kind,
        capabilities=manifest.capabilities,
        verbs={verb.name: verb.nature for verb in verbs_of(manifest.capabilities)},
        classes=classes_of(model),
        image=ImageCard(
            channels=image.channels,
            size=image.size,
            spacing_mm=image.spacing_mm,
            low=values.low,
            high=values.high,
            unit=values.unit,
        ),
        metrics=manifest.metrics,
        note=manifest.provenance.note,
        seed=bundle.seed,
        limits=limits,
    )


class Predictor:
    """Answer requests with a model.

    An image depends on what it is made from and on its class, never on what is computed in the same batch: every batch
    is padded with zeros to ``batch_size``. The last bits of a convolution on a CPU depend on the batch's size and on
    ``num_threads``, but not on the position in it (measured, and kept by a test).
    """

    def __init__(self, model: Model, card: Card, *, batch_size: int, num_threads: int) -> None:
        self.card = card
        self._model = model.eval()
        self._batch_size = batch_size
        # One thread owns the model, so that batches follow each other and torch keeps its threads.
        thread = ThreadPoolExecutor(1, "model", initializer=torch.set_num_threads, initargs=(num_threads,))
        self._batchers: dict[str, Batcher[BatchItem, Array]] = {}
        # One thread per verb reads what is sent, so that only one image at a time has the size that a client chose.
        self._readers: dict[str, Executor] = {}
        for verb in verbs_of(card.capabilities):
            self._batchers[verb.name] = Batcher(partial(self._computed, verb), thread, batch_size=batch_size)
            self._readers[verb.name] = ThreadPoolExecutor(1, verb.name)

    @property
    def image(self) -> ImageSpec:
        """What its images have in common."""
        return self._model.image

    async def answer(self, verb: Verb[Request], request: Request) -> Answer:
        """Answer a request for a verb that the model is capable of.

        Raises:
            RequestError: the model cannot do this, or not so much at once.
        """
        loop, max_count = asyncio.get_running_loop(), self.card.limits.max_count
        items = await loop.run_in_executor(self._readers[verb.name], verb.items, self._model, request, max_count)
        classes = tuple(self.card.classes[item.label] for item in items) if self.card.classes else ()
        encoded(classes)  # refuses what an answer could not say, before it is computed
        images = await self._batchers[verb.name].submit(items)
        return Answer(
            images=np.stack(images),
            classes=classes,
            seed=items[0].seed,
            first_index=items[0].index,
            version=self.card.version,
            nature=verb.nature,
        )

    def _computed(self, verb: Verb[Any], items: Sequence[BatchItem]) -> Sequence[Array]:
        weight = next(self._model.parameters())
        streams = {name: torch.stack([item.inputs[name] for item in items]) for name in items[0].inputs}
        inputs = placed({name: self._padded(stream) for name, stream in streams.items()}, weight)
        labels = self._padded(torch.tensor([item.label for item in items])).to(weight.device)
        with torch.inference_mode():
            return list(verb.compute(self._model, inputs, labels)[: len(items)].cpu().numpy())

    def _padded(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows.new_zeros(self._batch_size - len(rows), *rows.shape[1:])])
