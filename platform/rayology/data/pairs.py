"""Pairs of files by patterns of their names, and pictures with masks as such pairs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import Field

from rayology.config import Config
from rayology.data.identity import Identity
from rayology.data.labels import Naming
from rayology.data.local import files_below, local_folder
from rayology.data.masks import fitting
from rayology.data.packed import ArchiveLimits
from rayology.data.plain import grey_levels, plain
from rayology.data.raster import read_page, read_regions
from rayology.data.source import Example, Item
from rayology.errors import SourceError

__all__ = ["PairsConfig", "PairsSource", "Pattern", "paired"]

Pattern = Annotated[str, Field(pattern=r"^[^{}]*\{name\}[^{}]*$")]
"""The name of a file below a folder, in which ``{name}`` stands for what images and masks have in common."""


class PairsConfig(Config):
    """Pictures, each with a mask as another picture of the same size."""

    kind: Literal["pairs"] = "pairs"
    """This source."""
    path: str
    """The folder, a zip or tar file of one, or the URI of either (file, s3, gs)."""
    image: Pattern = "{name}.jpg"
    """The images' names below the path; {name} is what the mask's name has too."""
    mask: Pattern = "{name}_mask.png"
    """The masks' names below the path."""
    regions: Literal["inside", "numbered"] = "inside"
    """What a mask's grey levels mean: all but 0 is inside, or each is the number of a region."""
    labels: Literal["none", "folder", "table"] = "none"
    """Where classes come from: nowhere, the first folder below the path, or the table."""
    table: Path | None = None
    """A CSV file headed file (an image's name below the path), and any of label, patient and split; null for none."""
    patient: str = ""
    """A regular expression whose first group, in an image's name, is the patient; empty where it is not."""
    limits: ArchiveLimits = ArchiveLimits()
    """What an archive may become."""

    @classmethod
    def example(cls, folder: Path) -> Self:
        """Write a few coloured images with masks below a folder, and return the config that reads them."""
        generator = np.random.default_rng(0)
        for number in range(6):
            pixels = generator.integers(0, 256, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
            Image.fromarray(pixels[..., 0] > 99).save(folder / f"{number}_mask.png")
        return cls(path=str(folder))

    def build(self, root: Path) -> "PairsSource":
        """Keep what is unpacked or fetched below a root."""
        return PairsSource(self, root)

    @property
    def naming(self) -> Naming:
        """How names say what pictures show."""
        return Naming(self.labels, patient=self.patient, table=self.table)


@dataclass(frozen=True)
class PairsSource:
    """List images with their masks and read them."""

    config: PairsConfig
    root: Path

    def items(self) -> Sequence[Item]:
        """List every image in the order of their names.

        Raises:
            SourceError: the path is not there, cannot be fetched or unpacked, or no name fits.
        """
        folder = local_folder(self.config.path, self.root, self.config.limits)
        return paired(folder, self.config.image, self.config.mask, self.config.naming)

    def read(self, item: Item) -> Iterator[Example]:
        """Read an image with its mask, and raise UnreadableImage where one is damaged or does not fit."""
        facts = self.config.naming.of(item.part)
        pixels = read_page(item.path)
        mask = fitting(read_regions(item.beside[0], numbered=self.config.regions == "numbered"), pixels.shape[:2])
        identity = Identity(patient=facts.patient, picture=item.part, series=item.part)
        yield Example(plain(pixels, identity), item.label, mask, grey_levels(pixels.dtype), split=facts.split or None)


def paired(folder: Path, image: str, mask: str, naming: Naming) -> list[Item]:
    """List images by the pattern of their names, each with its mask where there is a pattern for masks.

    Raises:
        SourceError: no name fits the pattern of images, or a mask is missing.
    """
    before, after = image.split("{name}")
    fits = re.compile(f"{re.escape(before)}(?P<name>.+){re.escape(after)}")
    names = {file.relative_to(folder).as_posix() for file in files_below(folder)}
    images = {name: mask.replace("{name}", found["name"]) for name in sorted(names) if (found := fits.fullmatch(name))}
    if mask:
        # Where both patterns end alike, masks fit the pattern of images too.
        masks = set(images.values())
        images = {name: its_mask for name, its_mask in images.items() if name not in masks}
    if not images:
        raise SourceError(f"{folder}: no file is named like {image!r}; set source.image to how images are named")
    lacking = sum(its_mask not in names for its_mask in images.values()) if mask else 0
    if lacking:
        raise SourceError(
            f"{folder}: {lacking} of {len(images)} images have no mask named like {mask!r}; set source.mask to how "
            "masks are named, or take those images away"
        )
    return [
        Item(
            folder / name,
            part=name,
            label=naming.of(name).label,
            beside=(*([folder / its_mask] if mask else []), *naming.beside),
        )
        for name, its_mask in images.items()
    ]
