"""One model in one process: draws and reconstructs for many requests at once, off the event loop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayology.bundle import Bundle
from rayology.errors import RequestError
from rayology.image import ImageSpec, from_model_range, to_model_range, to_stored
from rayology.imaging import conform
from rayology.models import Model, Reconstructs
from rayology.serving.batching import Batcher
from rayology.serving.schemas import Card, ImageCard, Limits

__all__ = ["Drawn", "Generator", "card_of"]

Array = NDArray[np.float32]


def card_of(bundle: Bundle, model: Model, *, version: str, limits: Limits) -> Card:
    """Describe a bundle, and the model built from it, to those who call it."""
    manifest, image = bundle.manifest, model.image
    values = image.values
    return Card(
        version=version,
        kind=manifest.model.kind,
        capabilities=model.capabilities,
        classes=image.classes if model.conditional else (),
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
        limits=limits,
    )


@dataclass(frozen=True)
class Drawn:
    """Images that a model made, and the class of each."""

    images: Array
    """(count, channel, height, width) in modality units; of volumes (count, channel, slices, height, width)."""
    classes: tuple[str, ...]
    """Empty where the model knows no classes."""


@dataclass(frozen=True)
class Row:
    """What one image of a batch is made from: noise to draw it, or an image to reconstruct it."""

    inputs: Array
    label: int


class Generator:
    """Answer requests with a model.

    An image depends on its seed, its place in its request and its class, never on what is computed beside it: every
    batch is padded with zeros to ``batch_size``. The last bits of a convolution on a CPU depend on the batch's size
    and on ``num_threads``, but not on the place in it (measured, and kept by a test).
    """

    def __init__(self, model: Model, card: Card, *, batch_size: int, num_threads: int) -> None:
        self.card = card
        self._model = model.eval()
        self._batch_size = batch_size
        # One thread owns the model, so that batches follow each other and torch keeps its threads.
        thread = ThreadPoolExecutor(1, "model", initializer=torch.set_num_threads, initargs=(num_threads,))
        self._draw = Batcher(self._sample, thread, batch_size=batch_size)
        self._reconstruct = Batcher(self._encode_and_decode, thread, batch_size=batch_size)
        # One thread reads what is sent, so that one image at a time is as large as a client made it.
        self._reader = ThreadPoolExecutor(1, "reader")

    @property
    def image(self) -> ImageSpec:
        """What its images have in common."""
        return self._model.image

    async def generate(self, *, count: int, seed: int, class_name: str | None) -> Drawn:
        """Draw images.

        Raises:
            RequestError: the count is over the limit, or the model does not know the class.
        """
        most = self.card.limits.max_count
        if count > most:
            raise RequestError(f"count {count} is too many: ask for 1 to {most} images, and send several requests")
        asked = self._label(class_name)
        rows = [self._keyed(seed, index, asked) for index in range(count)]

        images = await self._draw.submit(rows)

        classes = tuple(self.card.classes[row.label] for row in rows) if self.card.classes else ()
        return Drawn(np.stack(images), classes)

    async def reconstruct(self, read: Callable[[], Array], *, class_name: str | None) -> Drawn:
        """Encode and decode images of any size, padded and averaged as in training, or volumes of the model's size.

        Args:
            read: returns them in modality units; called in another thread, for one request after the other.
            class_name: the class of them all.

        Raises:
            RequestError: the images are too many, one lies outside the model's values, a volume has another size than
                the model's, the model does not know the class, or it needs one.
        """
        label = self._label(class_name)
        if label is None and self.card.classes:
            raise RequestError(f"the model needs the class of an image: add ?class= with one of {self._known()}")

        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._reader, self._read, read)
        rows = [Row(image, label or 0) for image in prepared]
        decoded = await self._reconstruct.submit(rows)
        return Drawn(np.stack(decoded), (class_name,) * len(rows) if class_name else ())

    def _label(self, class_name: str | None) -> int | None:
        if class_name is None:
            return None
        if not self.card.classes:
            raise RequestError("this model knows no classes: leave the class out")
        if class_name not in self.card.classes:
            raise RequestError(f"no such class: ask for one of {self._known()}, or leave the class out")
        return self.card.classes.index(class_name)

    def _known(self) -> str:
        return ", ".join(self.card.classes)

    def _keyed(self, seed: int, index: int, label: int | None) -> Row:
        """Key the noise by seed and index, whatever the class; where no class was asked for, draw that too."""
        random = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
        noise = random.standard_normal(self._model.noise_size, np.float32)
        drawn = int(random.integers(max(len(self.card.classes), 1)))
        return Row(noise, drawn if label is None else label)

    def _read(self, read: Callable[[], Array]) -> Array:
        images, most = read(), self.card.limits.max_count
        if len(images) > most:
            raise RequestError(f"{len(images)} images are too many: send at most {most} a request")
        return self._prepared(images)

    def _prepared(self, images: Array) -> Array:
        """Do what preparation does to an image: bring it to the size, and round it to the stored levels.

        A volume keeps its size: its voxels have one in millimetres, which an array does not tell.
        """
        size, values = self.image.size, self.image.values
        for image in images:
            if image.max() < values.low or image.min() > values.high:
                raise RequestError(
                    f"an image holds {image.min():g} to {image.max():g}, the model takes {values.low:g} to "
                    f"{values.high:g} ({values.unit}): bring it to these values, as the preparation did"
                )
        if len(size) == 2:
            images = np.stack([conform(image, size, fill=values.low) for image in images])
        elif images.shape[2:] != size:
            found, wanted = ("x".join(map(str, sides)) for sides in (images.shape[2:], size))
            raise RequestError(
                f"the volumes have {found} voxels, the model takes {wanted} (slices, height, width): resample them to "
                f"the spacing that it was trained on, and send parts of exactly {wanted}"
            )
        return to_model_range(torch.from_numpy(to_stored(images, values).astype(np.float32)), values).numpy()

    def _sample(self, rows: Sequence[Row]) -> Sequence[Array]:
        with torch.inference_mode():
            return self._finish(self._model.sample(*self._padded(rows)), len(rows))

    def _encode_and_decode(self, rows: Sequence[Row]) -> Sequence[Array]:
        assert isinstance(self._model, Reconstructs), "the routes offer only what the model can do"  # noqa: S101
        with torch.inference_mode():
            return self._finish(self._model.reconstruct(*self._padded(rows)), len(rows))

    def _padded(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        inputs = torch.zeros(self._batch_size, *rows[0].inputs.shape)
        inputs[: len(rows)] = torch.from_numpy(np.stack([row.inputs for row in rows]))
        labels = torch.zeros(self._batch_size, dtype=torch.int64)
        labels[: len(rows)] = torch.tensor([row.label for row in rows])
        return inputs, labels

    def _finish(self, images: Tensor, count: int) -> Sequence[Array]:
        return list(from_model_range(images[:count].float(), self.image.values).numpy())
