"""One version in memory: answers many requests at once, off the event loop."""

import asyncio
import copy
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from rayology.bundle import COPIES, Bundle
from rayology.errors import RequestError
from rayology.image import VALUES_AT_ONCE, ImageSpec, num_at_once
from rayology.models import Encodes, Model
from rayology.noise import placed
from rayology.serving.answer import Answer, encoded
from rayology.serving.batching import Batcher
from rayology.serving.invariance import least_size, padded, steady_layers
from rayology.serving.schemas import Card, ImageCard, Limits, Precision
from rayology.serving.verbs import BatchItem, Verb, classes_of, verbs_of

__all__ = ["Predictor", "Threads", "card_of", "precision_here"]

Array = NDArray[np.float32]
Request = TypeVar("Request")

EXACT_BATCH = 4
"""Images that are computed at once for a request that asks for exact ones."""
CPU = torch.device("cpu")
FILLS_WAITING = 16  # full batches that may wait


def precision_here(device: torch.device = CPU, *, is_volume: bool = False) -> Precision:
    """Return the precision in which this machine computes fastest: bfloat16 where its processor multiplies it.

    Volumes are computed in float32 on processors, for which torch does not average bfloat16 along three axes.
    """
    if device.type == "cuda":  # pragma: no cover - needs one
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    able = {} if is_volume else torch.cpu.get_capabilities()
    return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"


def card_of(bundle: Bundle, model: Model, *, version: str, limits: Limits, precision: Precision = "float32") -> Card:
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
        latent=model.latent().shape if isinstance(model, Encodes) else None,
        precision=precision,
        metrics=manifest.metrics,
        note=manifest.provenance.note,
        seed=bundle.seed,
        limits=limits,
    )


@dataclass(frozen=True)
class Threads:
    """The threads of a process, which all the versions that it holds share."""

    model: Executor
    """One that computes, so that batches follow each other and torch keeps its own threads."""
    reader: Executor
    """One that reads what is sent, so that only one image at a time has the size that a client chose."""

    @classmethod
    def start(cls, num_threads: int) -> Self:
        """Return threads of which the first computes on so many cores."""
        model = ThreadPoolExecutor(1, "model", initializer=torch.set_num_threads, initargs=(num_threads,))
        return cls(model, ThreadPoolExecutor(1, "reader"))


class Predictor:
    """Answer requests with a model.

    An image depends on what it is made from and on its class, never on what is computed in the same batch: layers, and
    if that is not enough batches, are padded to the sizes from which on this processor gives them the same bits, as
    measured when the model is loaded.

    Of large images fewer than ``batch_size`` are computed at once.

    ``on_batch`` is told how many images each batch has.

    Images that are asked for as exact are computed as the bundle's own were: in float32, ``EXACT_BATCH`` at once.

    All is computed on the device of the model's weights.
    """

    def __init__(
        self,
        model: Model,
        card: Card,
        threads: Threads,
        *,
        batch_size: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.card, self._on_batch = card, on_batch
        self.image: ImageSpec = model.image
        self._model, self._threads = model.eval(), threads
        batch_size = min(batch_size, num_at_once(VALUES_AT_ONCE, model.image.shape, copies=COPIES))
        served = _in_precision(self._model, card.precision)
        self._batchers: dict[tuple[object, bool], Batcher[BatchItem, Array]] = {}
        for verb in {verb.compute: verb for verb in verbs_of(card.capabilities)}.values():  # some share their batches
            run = partial(_compute, served, verb)
            least = self._threads.model.submit(_least_size, served, run, self._examples(verb, batch_size)).result()
            exact = partial(_compute, self._model, verb, least=EXACT_BATCH)
            self._batchers[verb.compute, False] = self._batcher(partial(run, least=least), batch_size)
            self._batchers[verb.compute, True] = self._batcher(exact, EXACT_BATCH)

    @property
    def num_batches(self) -> float:
        """Batches that wait or are computed, where a part of one counts as a part."""
        return sum(batcher.num_pending for batcher in self._batchers.values())

    @property
    def num_waiting(self) -> int:
        """Images that wait for a batch."""
        return sum(batcher.num_waiting for batcher in self._batchers.values())

    def _examples(self, verb: Verb[Any], count: int) -> Sequence[BatchItem]:
        return [verb.example(self._model, number) for number in range(count)]

    def _batcher(self, run: Callable[[Sequence[BatchItem]], Sequence[Array]], size: int) -> Batcher[BatchItem, Array]:
        max_waiting = FILLS_WAITING * size
        return Batcher(run, self._threads.model, batch_size=size, max_waiting=max_waiting, on_batch=self._on_batch)

    async def answer(self, verb: Verb[Request], request: Request, *, exact: bool = False) -> Answer:
        """Answer a request for a verb that the model is capable of.

        Raises:
            RequestError: the model cannot do this, or not so much at once, or not now; or what it computes is not a
                number, as of latents far larger than any image has.
        """
        read, max_count = partial(verb.items, self._model, request), self.card.limits.max_count
        if verb.is_slow:
            items = await asyncio.get_running_loop().run_in_executor(self._threads.reader, read, max_count)
        else:
            items = read(max_count)
        classes = tuple(self.card.classes[item.label] for item in items) if self.card.classes else ()
        encoded(classes)  # refuses what an answer could not say, before it is computed
        images = np.stack(await self._batchers[verb.compute, exact].submit(items))
        if np.isnan(images).any():
            raise RequestError("the model answers this with values that are not numbers: ask for something else")
        return Answer(
            images=images,
            classes=classes,
            seed=items[0].seed,
            first_index=items[0].index,
            version=self.card.version,
            nature=verb.nature,
        )


def _in_precision(model: Model, precision: Precision) -> Model:
    """Return a copy in a precision and, for images of two axes, in the order of memory that convolutions prefer."""
    copied = copy.deepcopy(model).to(getattr(torch, precision))
    return copied if model.image.is_volume else copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stubs lack it


def _least_size(model: Model, run: Callable[..., Sequence[Array]], items: Sequence[BatchItem]) -> int:
    """Pad the layers that need it, and return the size to which batches must still be padded: 1 if none."""
    steady_layers(model, partial(run, items, least=1), len(items))
    return least_size(lambda count: [torch.from_numpy(each) for each in run(items[:count], least=1)], len(items))


def _compute(model: Model, verb: Verb[Any], items: Sequence[BatchItem], *, least: int) -> Sequence[Array]:
    """Compute a batch, padded with zeros to the least size."""
    weight = next(model.parameters())
    inputs = [item.inputs() for item in items]
    streams = {name: padded(torch.stack([each[name] for each in inputs]), least) for name in inputs[0]}
    labels = padded(torch.tensor([item.label for item in items]), least).to(weight.device)
    with torch.inference_mode():
        return list(verb.compute(model, placed(streams, weight), labels)[: len(items)].cpu().numpy())
