"""What goes in and comes out over HTTP, as types; imports neither torch nor Ray, so that clients can share it."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

__all__ = [
    "END",
    "NATURES",
    "Card",
    "GenerateRequest",
    "Health",
    "ImageCard",
    "InterpolateRequest",
    "Limits",
    "Nature",
    "Precision",
    "Problem",
    "Seed",
]

END = 2**63
Seed = Annotated[int, Field(ge=0, lt=END)]

Precision = Literal["float32", "bfloat16"]
Nature = Literal["synthetic", "derived", "prediction"]
NATURES: Mapping[Nature, str] = {
    "synthetic": "Synthetic: a model drew it, and it shows nobody. Not for diagnosis.",
    "derived": "Derived from what was sent: it shows the same person. Not for diagnosis.",
    "prediction": "A prediction about what was sent, not a finding. Not for diagnosis.",
}
"""What an answer is, and what its reader must know about it."""


class Message(BaseModel):
    """A frozen, closed group of values on the wire; the string below a field is its documentation in ``/docs``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


def _one_or_several(value: object) -> object:
    names = tuple(value) if isinstance(value, list) else value
    several = names if isinstance(names, tuple) and names else (names,)
    if names is not None and not all(isinstance(name, str) for name in several):
        raise ValueError("write a class, or a list of classes")
    return names


Classes = Annotated[
    str | Annotated[tuple[str, ...], Field(min_length=1)] | None, BeforeValidator(_one_or_several), Field(alias="class")
]


class GenerateRequest(Message):
    """Ask for images."""

    count: Annotated[int, Field(ge=1)] = 1
    """Number of images; the card names the most."""
    seed: Seed = Field(default_factory=lambda: secrets.randbelow(2**53))  # JavaScript keeps integers up to 2^53
    """Seed of the images, which are the same for a version. Without it, one is drawn and named in the answer."""
    first_index: Annotated[int, Field(ge=0)] = 0
    """Index of the first image; the others follow it. Image 5 of a seed is the same whether asked for alone or not."""
    class_name: Classes = None
    """Class from the card, or a list that images take in turn, by their indices; without it, one is drawn for each.
    Only for models with classes."""
    exact: bool = False
    """Whether to compute as the bundle's own samples were, in float32, which takes longer."""

    @field_validator("first_index")
    @classmethod
    def _has_room_for_the_others(cls, first_index: int, info: ValidationInfo) -> int:
        if first_index + info.data.get("count", 1) > END:
            raise ValueError(f"the indices must end below {END}")
        return first_index


class InterpolateRequest(Message):
    """Ask for images on the way from one to another."""

    count: Annotated[int, Field(ge=2)] = 8
    """Number of images, both ends among them; the card names the most."""
    seed: Seed
    """Seed of the image to begin with."""
    index: Annotated[int, Field(ge=0, lt=END)] = 0
    """Index of that image."""
    to_seed: Seed
    """Seed of the image to end with, which is drawn in the class of them all."""
    to_index: Annotated[int, Field(ge=0, lt=END)] = 0
    """Index of that image."""
    class_name: Annotated[str | None, Field(alias="class")] = None
    """Class from the card, of them all; without it, that of the image to begin with."""
    exact: bool = False
    """Whether to compute as the bundle's own samples were, in float32, which takes longer."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if (self.seed, self.index) == (self.to_seed, self.to_index):
            raise ValueError("to_seed and to_index: name another image than seed and index do")
        return self


class ImageCard(Message):
    """What every image of a model has in common."""

    channels: int
    """Number of channels."""
    size: tuple[int, int] | tuple[int, int, int]
    """Rows and columns; for volumes slices, rows and columns, which is the only size that the model takes."""
    spacing_mm: float | None = None
    """Distance between voxels of volumes, in mm, whose axes lead to head, back and left; null for slices."""
    low: float
    """The lowest value: black in a PNG."""
    high: float
    """The highest value: white in a PNG."""
    unit: str
    """The unit of the values in an NPY, and of ``low`` and ``high``."""


class Limits(Message):
    """The most that one request may ask for."""

    max_count: int
    """Images in one request."""
    max_body_bytes: int
    """Bytes of a request's body."""


class Card(Message):
    """What a served model is and can do."""

    version: str
    """The version that answers."""
    kind: str
    """Kind of model."""
    capabilities: tuple[str, ...]
    """What the model can do, whether this server offers it or not."""
    verbs: dict[str, Nature]
    """The endpoints, and the nature of what each answers: ``synthetic`` (shows nobody), ``derived`` (shows the
    person in the image that was sent) or ``prediction`` (not a finding); never for diagnosis."""
    classes: tuple[str, ...]
    """The classes that can be asked for; empty for a model without classes."""
    image: ImageCard
    """The images it makes and takes."""
    latent: tuple[int, ...] | None
    """Channels and size of an image's latents, which ``encode`` answers and ``decode`` takes; null for a model without
    them."""
    precision: Precision = "float32"
    """The numbers that images are computed with, unless a request asks for exact ones."""
    metrics: dict[str, float]
    """Its figures on the validation split."""
    note: str
    """Caveat to every figure, such as 'one patient'; empty if there is none."""
    seed: int | None
    """The seed of the samples that were evaluated and that the bundle's sheet shows, from index 0 on; null for a bundle
    of format 1, which drew them differently."""
    limits: Limits
    """The most that one request may ask for."""


class Health(Message):
    """State of a replica that answers, or of one that serves what its store names."""

    status: str = "ok"
    """Always ``ok``: a replica that is not well does not answer, or answers with a problem."""


class Problem(Message):
    """A problem document (RFC 9457, section 3)."""

    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What was found, and what to send instead."""
