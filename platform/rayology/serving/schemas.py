"""What goes in and comes out over HTTP, as types; imports neither torch nor Ray, so that clients may share it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Card", "GenerateRequest", "Health", "ImageCard", "Limits", "Problem", "Seed"]

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Message(BaseModel):
    """A frozen, closed group of values on the wire; the string below a field is its documentation in ``/docs``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


class GenerateRequest(Message):
    """Ask for images."""

    count: Annotated[int, Field(ge=1)] = 1
    """How many images; the card names the most."""
    seed: Seed | None = None
    """The same seed gives the same images of a version; without one, a seed is drawn and told in the answer."""
    class_name: Annotated[str | None, Field(alias="class")] = None
    """A class of the card; without one, each image draws its own. Only for models that know classes."""


class ImageCard(Message):
    """What every image of a model has in common."""

    channels: int
    """How many channels."""
    size: tuple[int, int] | tuple[int, int, int]
    """Rows and columns; of volumes slices, rows and columns, and they take volumes of this size alone."""
    spacing_mm: float | None = None
    """The distance between voxels of volumes, whose axes lead to head, back and left; null of slices."""
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
    """Which kind of model."""
    capabilities: tuple[str, ...]
    """The endpoints that this model has."""
    classes: tuple[str, ...]
    """The classes that can be asked for; empty for a model that knows none."""
    image: ImageCard
    """The images it makes and takes."""
    metrics: dict[str, float]
    """Its figures on the validation split."""
    note: str
    """What every figure must be read with, such as 'one patient'; empty where there is nothing to say."""
    limits: Limits
    """The most that one request may ask for."""
    synthetic: bool = True
    """Every image from this server is made by a model and shows no patient; not for diagnosis."""


class Health(Message):
    """That a replica answers."""

    status: str = "ok"
    """Always ``ok``: what is not well does not answer. The card tells the version, to those who may know it."""


class Problem(Message):
    """A problem document (RFC 9457, section 3)."""

    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What was found, and what to send instead."""
