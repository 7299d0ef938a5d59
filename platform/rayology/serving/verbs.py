"""What a model can be asked, free of HTTP: each verb turns a request into items, and a batch of items into arrays."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayology.errors import RequestError
from rayology.image import ImageSpec, from_model_range, to_model_range, to_stored
from rayology.imaging import conform
from rayology.models import Encodes, Generates, Model, Reconstructs
from rayology.noise import indexed_labels, indexed_noise
from rayology.serving.schemas import GenerateRequest, InterpolateRequest, Nature

__all__ = [
    "DECODE",
    "ENCODE",
    "GENERATE",
    "INTERPOLATE",
    "RECONSTRUCT",
    "VERBS",
    "BatchItem",
    "Content",
    "ImagesRequest",
    "LatentsRequest",
    "SentRequest",
    "Verb",
    "classes_of",
    "verbs_of",
]

Array = NDArray[np.float32]
Request = TypeVar("Request")
Content = Literal["images", "latents"]

SENT = "sent"


@dataclass(frozen=True)
class SentRequest:
    """Ask for something about arrays that are sent."""

    read: Callable[[], Array]
    """Function that returns them, called off the event loop, one at a time."""
    class_name: str | None = None
    """Class of them all; None for a model without classes."""


class ImagesRequest(SentRequest):
    """Ask for something about images, (count, channel, *space) in modality units."""


class LatentsRequest(SentRequest):
    """Ask for something about latents, (count, channel, *size) as the model's ``latent`` says."""


@dataclass(frozen=True)
class BatchItem:
    """What one image of a batch is made from, and the seed and index that it is drawn with, if it is drawn."""

    inputs: Callable[[], Mapping[str, Tensor]]
    """Function that returns them, called where the batch is computed."""
    label: int
    seed: int | None = None
    index: int | None = None


@dataclass(frozen=True)
class Verb(Generic[Request]):
    """One thing that a model can be asked."""

    name: str
    """Name of the verb at every door, such as REST."""
    needs: str
    """The capability that a model must have."""
    nature: Nature
    """What the answers are."""
    answers: Content
    """What the answers hold."""
    summary: str
    """Sentence that says what it does."""
    request: type[Request]
    """Type that a door must turn a request into."""
    items: Callable[[Model, Request, int], Sequence[BatchItem]]
    """Function from a request, and the most images allowed, to one item per image; raises RequestError."""
    example: Callable[[Model, int], BatchItem]
    """Function from a number to the item of an image that nobody asked for, to try the model on."""
    is_slow: bool
    """Whether requests hold arrays, which take too long to read for the event loop."""
    compute: Callable[[Model, Mapping[str, Tensor], Tensor], Tensor]
    """Function from a batch of inputs and labels to images in modality units, or to latents."""


def classes_of(model: Model) -> tuple[str, ...]:
    """Return the classes that can be asked for."""
    return model.image.classes if model.conditional else ()


def verbs_of(capabilities: Iterable[str]) -> "tuple[Verb[Any], ...]":
    """Return what a model with these capabilities can be asked."""
    return tuple(verb for verb in VERBS if verb.needs in capabilities)


def _label(model: Model, class_name: str | None) -> int | None:
    """Return the label of a class; None if none is named."""
    return None if class_name is None else _known_label(model, class_name)


def _known_label(model: Model, class_name: str) -> int:
    known = classes_of(model)
    if not known:
        raise RequestError("this model does not know classes: leave the class out")
    if class_name not in known:
        raise RequestError(f"no such class: ask for one of {', '.join(known)}, or leave the class out")
    return known.index(class_name)


def _drawn(model: Model, request: GenerateRequest, max_count: int) -> Sequence[BatchItem]:
    """Name each image by seed and index; if no class is asked for, draw one for each."""
    assert isinstance(model, Generates), "a door offers only what the model can do"  # noqa: S101
    if request.count > max_count:
        raise RequestError(
            f"count {request.count} is too many: ask for 1 to {max_count} images, and for others with a first_index"
        )
    indices = range(request.first_index, request.first_index + request.count)
    names = request.class_name
    asked = [_known_label(model, name) for name in ((names,) if isinstance(names, str) else names or ())]
    if asked:
        labels = [asked[index % len(asked)] for index in indices]
    else:
        labels = indexed_labels(model.num_classes, seed=request.seed, indices=indices).tolist()
    return [
        BatchItem(partial(_noise, model, request.seed, index), label, request.seed, index)
        for index, label in zip(indices, labels, strict=True)
    ]


def _noise(model: Model, seed: int, index: int) -> Mapping[str, Tensor]:
    """Draw the noise of an image, which does not depend on its class."""
    assert isinstance(model, Generates), "a door offers only what the model can do"  # noqa: S101
    noise = indexed_noise(model.sample_noise(), seed=seed, indices=(index,))
    return {name: stream[0] for name, stream in noise.items()}


def _between(model: Model, request: InterpolateRequest, max_count: int) -> Sequence[BatchItem]:
    """Name the images on the way from one that is drawn to another, which have the class of the first."""
    if request.count > max_count:
        raise RequestError(f"count {request.count} is too many: ask for 2 to {max_count} images")
    ends = (request.seed, request.index), (request.to_seed, request.to_index)
    label = _label(model, request.class_name)
    if label is None:
        label = int(indexed_labels(model.num_classes, seed=request.seed, indices=(request.index,)))
    return [BatchItem(partial(_mixed, model, *ends, row / (request.count - 1)), label) for row in range(request.count)]


def _mixed(model: Model, begin: tuple[int, int], end: tuple[int, int], share: float) -> Mapping[str, Tensor]:
    """Mix normal noise on an arc, along which it stays normal; other noise is that of the nearer end."""
    first, last = (_noise(model, *drawn) for drawn in (begin, end))
    if share in (0, 1):
        return (first, last)[int(share)]
    angle = share * math.pi / 2
    return {
        name: math.cos(angle) * noise + math.sin(angle) * last[name]
        if noise.dtype == torch.float32
        else (first, last)[round(share)][name]
        for name, noise in first.items()
    }


def _sampled(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    assert isinstance(model, Generates), "a door offers only what the model can do"  # noqa: S101
    return from_model_range(model.sample(inputs, labels).float(), model.image.values)


def _sent(
    prepared: Callable[[Array, ImageSpec], Tensor], model: Model, request: SentRequest, max_count: int
) -> Sequence[BatchItem]:
    """Prepare what was sent, all of one class, as the model takes it."""
    sent = request.read()
    if len(sent) > max_count:
        raise RequestError(f"{len(sent)} images are too many: send at most {max_count} a request")
    inputs = prepared(sent, model.image)
    label = _label(model, request.class_name)
    if label is None and (known := classes_of(model)):
        raise RequestError(f"the model needs the class of an image: add ?class= with one of {', '.join(known)}")
    return [BatchItem(partial(_input, each), label or 0) for each in inputs]


def _input(sent: Tensor) -> Mapping[str, Tensor]:
    return {SENT: sent}


def _some_image(model: Model, number: int) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {SENT: 2 * torch.rand(model.image.shape, generator=generator) - 1}


def _some_latents(model: Model, number: int) -> Mapping[str, Tensor]:
    assert isinstance(model, Encodes), "a door offers only what the model can do"  # noqa: S101
    return {SENT: torch.randn(model.latent().shape, generator=torch.Generator().manual_seed(number))}


def _prepared(images: Array, spec: ImageSpec) -> Tensor:
    """Do what preparation does to an image: bring it to the size, padded and averaged, and round it to stored levels.

    A volume keeps its size: its voxels have one in millimetres, which an array does not tell.
    """
    size, values = spec.size, spec.values
    if len(size) == 2:
        images = np.stack([conform(image, size, fill=values.low) for image in images])
    elif images.shape[2:] != size:
        found, wanted = ("x".join(map(str, sides)) for sides in (images.shape[2:], size))
        raise RequestError(
            f"the volumes have {found} voxels, the model takes {wanted} (slices, height, width): resample them to "
            f"the spacing that it was trained on, and send parts of exactly {wanted}"
        )
    return to_model_range(torch.from_numpy(to_stored(images, values).astype(np.float32)), values)


def _reconstructed(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    assert isinstance(model, Reconstructs), "a door offers only what the model can do"  # noqa: S101
    return from_model_range(model.reconstruct(inputs[SENT], labels).float(), model.image.values)


def _encoded(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    assert isinstance(model, Encodes), "a door offers only what the model can do"  # noqa: S101
    return model.encode(inputs[SENT], labels).float()


def _decoded(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    assert isinstance(model, Encodes), "a door offers only what the model can do"  # noqa: S101
    return from_model_range(model.decode(inputs[SENT], labels).float(), model.image.values)


GENERATE = Verb(
    name="generate",
    needs="generate",
    nature="synthetic",
    answers="images",
    summary="Draw new images.",
    request=GenerateRequest,
    items=_drawn,
    example=lambda model, number: BatchItem(partial(_noise, model, 0, number), 0),
    is_slow=False,
    compute=_sampled,
)
INTERPOLATE = Verb(
    name="interpolate",
    needs="generate",
    nature="synthetic",
    answers="images",
    summary="Draw images on the way from one to another.",
    request=InterpolateRequest,
    items=_between,
    example=GENERATE.example,
    is_slow=False,
    compute=_sampled,
)
RECONSTRUCT = Verb(
    name="reconstruct",
    needs="reconstruct",
    nature="derived",
    answers="images",
    summary="Encode and decode images: return what the model keeps of them.",
    request=ImagesRequest,
    items=partial(_sent, _prepared),
    example=lambda model, number: BatchItem(partial(_some_image, model, number), 0),
    is_slow=True,
    compute=_reconstructed,
)
ENCODE = Verb(
    name="encode",
    needs="encode",
    nature="derived",
    answers="latents",
    summary="Encode images: return their latents, which decode takes.",
    request=ImagesRequest,
    items=RECONSTRUCT.items,
    example=RECONSTRUCT.example,
    is_slow=True,
    compute=_encoded,
)
DECODE = Verb(
    name="decode",
    needs="encode",
    nature="derived",  # the latents may be those of a person's image
    answers="images",
    summary="Decode latents: return the images that they stand for.",
    request=LatentsRequest,
    items=partial(_sent, lambda latents, _: torch.from_numpy(latents)),
    example=lambda model, number: BatchItem(partial(_some_latents, model, number), 0),
    is_slow=True,
    compute=_decoded,
)
VERBS: tuple[Verb[Any], ...] = (GENERATE, INTERPOLATE, RECONSTRUCT, ENCODE, DECODE)  # requests are of several types
