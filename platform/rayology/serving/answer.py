"""A model's answer and its HTTP headers; imports neither torch nor Ray, so that clients can share it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, get_args
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from rayology.errors import RequestError
from rayology.serving.schemas import NATURES, Nature

__all__ = ["CLASSES", "FIRST_INDEX", "NATURE", "PREFIX", "SEED", "VERSION", "Answer", "encoded"]

PREFIX = "X-Rayology-"
VERSION = f"{PREFIX}Version"
NATURE = f"{PREFIX}Nature"
CLASSES = f"{PREFIX}Classes"
SEED = f"{PREFIX}Seed"
FIRST_INDEX = f"{PREFIX}First-Index"
MAX_CLASSES_BYTES = 3000  # proxies refuse an answer whose headers outgrow a buffer, of 4 kB in the smallest default


def encoded(classes: Sequence[str]) -> str:
    """Return names of classes, which may be any text, percent-encoded (RFC 3986, section 2.1) and separated by commas.

    Raises:
        RequestError: they do not fit into a header.
    """
    value = ",".join(quote(name, safe="") for name in classes)
    if len(value) > MAX_CLASSES_BYTES:
        raise RequestError(f"the classes of {len(classes)} images do not fit into a header: ask for fewer images")
    return value


@dataclass(frozen=True, eq=False)
class Answer:
    """Images that a model made, with all that is needed to ask for them again."""

    images: NDArray[np.float32]
    """(count, channel, height, width) in modality units; for volumes (count, channel, slices, height, width). After
    ``encode`` their latents, (count, channel, *size) as the card's ``latent`` says."""
    classes: tuple[str, ...]
    """The class of each image; empty for a model without classes."""
    seed: int | None
    """The seed that the images were drawn with; None if nothing was drawn."""
    first_index: int | None
    """The index of the first image, which the others follow; None if nothing was drawn."""
    version: str
    """The version that answered."""
    nature: Nature
    """What the images are: synthetic, or derived from those that were sent."""

    @property
    def headers(self) -> dict[str, str]:
        """Return all but the images as HTTP headers.

        Raises:
            RequestError: the names of the classes do not fit into a header.
        """
        drawn = {SEED: self.seed, FIRST_INDEX: self.first_index}
        classes = {CLASSES: encoded(self.classes)} if self.classes else {}
        numbers = {name: str(number) for name, number in drawn.items() if number is not None}
        return {VERSION: self.version, NATURE: self.nature, **classes, **numbers}

    def each(self) -> Iterator[Self]:
        """Yield an answer of each image alone."""
        for row in range(len(self.images)):
            first_index = None if self.first_index is None else self.first_index + row
            rows = slice(row, row + 1)
            yield replace(self, images=self.images[rows], classes=self.classes[rows], first_index=first_index)

    @property
    def png_text(self) -> dict[str, str]:
        """Return what a PNG says about itself: the values of the headers, by keywords without their prefix.

        Raises:
            RequestError: as ``headers``.
        """
        text = {name.removeprefix(PREFIX): value for name, value in self.headers.items()}
        synthetic = {"Synthetic": "YES"} if self.nature == "synthetic" else {}
        return {**text, **synthetic, "Disclaimer": NATURES[self.nature]}

    @classmethod
    def received(cls, images: NDArray[np.float32], headers: Mapping[str, str]) -> Self:
        """Return the answer that came with these headers.

        Raises:
            ValueError: one is missing, or is not what ``headers`` writes.
        """
        nature = next((known for known in get_args(Nature) if known == headers.get(NATURE)), None)
        if nature is None or VERSION not in headers:
            raise ValueError(f"{NATURE} or {VERSION} is missing or unknown")
        classes = tuple(unquote(name) for name in headers[CLASSES].split(",")) if CLASSES in headers else ()
        if len(classes) not in (0, len(images)):
            raise ValueError(f"{CLASSES} names {len(classes)} classes of {len(images)} images")
        seed, first_index = (int(headers[name]) if name in headers else None for name in (SEED, FIRST_INDEX))
        return cls(images, classes, seed, first_index, headers[VERSION], nature)
