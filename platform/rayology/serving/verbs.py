"""What a model can be asked, free of HTTP: each verb turns a request into items, and a batch of items into images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayology.errors import RequestError
from rayology.image import ImageSpec, from_model_range, to_model_range, to_stored
from rayology.imaging import conform
from rayology.models import Generates, Model, Reconstructs
from rayology.noise import indexed_labels, indexed_noise
from rayology.serving.schemas import GenerateRequest, Nature

__all__ = [
    "GENERATE",
    "RECONSTRUCT",
    "VERBS",
    "BatchItem",
    "ImagesRequest",
    "Verb",
    "check_units",
    "classes_of",
    "verbs_of",
]

Array = NDArray[np.float32]
Request = TypeVar("Request")

IMAGES = "images"
# Measured on 600 slices of CT and MR: none holds more than 1 % far above, and far below only the 22 % that scanners
# write around a round field of view.
MOST_FAR_ABOVE, MOST_FAR_BELOW = 0.05, 0.3
CONTRAST, FAT = 300.0, -50.0  # in Hounsfield units: of soft tissue next to bone or air, and what lies just above fat
FRACTIONS = 1.1  # -1 to 1, and what resampling adds


@dataclass(frozen=True)
class ImagesRequest:
    """Ask for something about images."""

    read: Callable[[], Array]
    """Function that returns (count, channel, *space) in modality units, called off the event loop, one at a time."""
    class_name: str | None = None
    """Class of them all; None for a model without classes."""


@dataclass(frozen=True)
class BatchItem:
    """Inputs of one image of a batch, and the seed and index that it is drawn with, if it is drawn."""

    inputs: Mapping[str, Tensor]
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
    summary: str
    """Sentence that says what it does."""
    request: type[Request]
    """Type that a door must turn a request into."""
    items: Callable[[Model, Request, int], Sequence[BatchItem]]
    """Function from a request, and the most images allowed, to one item per image; raises RequestError."""
    compute: Callable[[Model, Mapping[str, Tensor], Tensor], Tensor]
    """Function from a batch of inputs and labels to images in modality units."""


def classes_of(model: Model) -> tuple[str, ...]:
    """Return the classes that can be asked for."""
    return model.image.classes if model.conditional else ()


def verbs_of(capabilities: Iterable[str]) -> "tuple[Verb[Any], ...]":
    """Return what a model with these capabilities can be asked."""
    return tuple(verb for verb in VERBS if verb.needs in capabilities)


def _label(model: Model, class_name: str | None) -> int | None:
    """Return the label of a class; None if none is named."""
    known = classes_of(model)
    if class_name is None:
        return None
    if not known:
        raise RequestError("this model does not know classes: leave the class out")
    if class_name not in known:
        raise RequestError(f"no such class: ask for one of {', '.join(known)}, or leave the class out")
    return known.index(class_name)


def _drawn(model: Model, request: GenerateRequest, max_count: int) -> Sequence[BatchItem]:
    """Draw the noise of each image by seed and index, whatever its class; if none is asked for, draw the class too."""
    assert isinstance(model, Generates), "a door offers only what the model can do"  # noqa: S101
    if request.count > max_count:
        raise RequestError(
            f"count {request.count} is too many: ask for 1 to {max_count} images, and for others with a first_index"
        )
    asked = _label(model, request.class_name)

    indices = range(request.first_index, request.first_index + request.count)
    noise = indexed_noise(model.sample_noise(), seed=request.seed, indices=indices)
    labels = indexed_labels(model.num_classes, seed=request.seed, indices=indices).tolist()
    return [
        BatchItem(
            {name: stream[row] for name, stream in noise.items()},
            labels[row] if asked is None else asked,
            request.seed,
            index,
        )
        for row, index in enumerate(indices)
    ]


def _sampled(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    assert isinstance(model, Generates), "a door offers only what the model can do"  # noqa: S101
    return from_model_range(model.sample(inputs, labels).float(), model.image.values)


def _sent(model: Model, request: ImagesRequest, max_count: int) -> Sequence[BatchItem]:
    """Prepare images of any size as training did, padded and averaged; volumes have the model's size."""
    images = request.read()
    if len(images) > max_count:
        raise RequestError(f"{len(images)} images are too many: send at most {max_count} a request")
    prepared = _prepared(images, model.image)
    label = _label(model, request.class_name)
    if label is None and (known := classes_of(model)):
        raise RequestError(f"the model needs the class of an image: add ?class= with one of {', '.join(known)}")
    return [BatchItem({IMAGES: image}, label or 0) for image in prepared]


def _prepared(images: Array, spec: ImageSpec) -> Tensor:
    """Do what preparation does to an image: bring it to the size, and round it to the stored levels.

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


def check_units(image: Array, spec: ImageSpec) -> None:
    """Raise RequestError if an image (channel, *space) cannot be in the units of a model."""
    values, width, is_hu = spec.values, spec.values.high - spec.values.low, spec.values.unit == "HU"
    far_below, far_above = values.low - width / 4, values.high + width / 4
    if is_hu:  # it is known where air and bone lie, whatever part of the scale a model keeps
        far_below, far_above = min(values.low, -1500.0), max(values.high, 3000.0 if spec.is_volume else 1500.0)
    least, first, last, most = np.percentile(image, (0, 0.5, 99.5, 100)).tolist()
    off_levels = np.abs(to_stored(image, values) * values.step + values.low - image).max()
    if most < values.low or least > values.high:
        problem = "all of it lies outside"
    elif np.mean(image < far_below) > MOST_FAR_BELOW or np.mean(image > far_above) > MOST_FAR_ABOVE:
        problem = "much of it lies far outside"
    elif (is_hu or width >= 200) and -FRACTIONS <= least < most <= FRACTIONS and off_levels > 0.05 * values.step:
        problem = "its values lie too close together"
    elif is_hu and not spec.is_volume and values.low < 2 * FAT and _lacks_air(image, values.low):
        problem = "it lacks the values below 0 of air and fat"
    else:
        return
    raise RequestError(
        f"an image holds {least:g} to {most:g}, 99 % of it {first:g} to {last:g}, the model takes {values.low:g} to "
        f"{values.high:g} ({values.unit}): {problem}; bring it to these values, as the preparation did"
    )


def _lacks_air(image: Array, low: float) -> bool:
    """Tell whether the Hounsfield units of a slice are too high, whatever single value surrounds its field of view."""
    least, most = float(image.min()), float(image.max())
    if least == most or abs(least - low) < 1:  # what the preparation clips is air
        return False
    first, last = np.percentile(image[image > least], (0.5, 99.5)).tolist()
    return bool(first > FAT and (last - first > CONTRAST or 0 <= least < 100 < most <= 255))


def _reconstructed(model: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    assert isinstance(model, Reconstructs), "a door offers only what the model can do"  # noqa: S101
    return from_model_range(model.reconstruct(inputs[IMAGES], labels).float(), model.image.values)


GENERATE = Verb(
    name="generate",
    needs="generate",
    nature="synthetic",
    summary="Draw new images.",
    request=GenerateRequest,
    items=_drawn,
    compute=_sampled,
)
RECONSTRUCT = Verb(
    name="reconstruct",
    needs="reconstruct",
    nature="derived",
    summary="Encode and decode images: return what the model keeps of them.",
    request=ImagesRequest,
    items=_sent,
    compute=_reconstructed,
)
VERBS: tuple[Verb[Any], ...] = (GENERATE, RECONSTRUCT)  # each takes a request of a type of its own
