"""Pictures paired with masks by patterns of their names."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rayology.data.identity import Identity
from rayology.data.sources.named import NamedFilesConfig, NamedFilesSource
from rayology.data.sources.raster import grey_levels, plain, read_mask, read_page
from rayology.data.sources.source import Example, Item
from rayology.errors import SourceError

__all__ = ["ImageMaskPairsConfig", "ImageMaskPairsSource", "Pattern", "paired"]

Pattern = Annotated[str, Field(pattern=r"^[^{}]*\{name\}[^{}]*$", title="a name with {name} in it")]
"""Name of a file below a folder, in which ``{name}`` is what an image and its mask have in common."""


class ImageMaskPairsConfig(NamedFilesConfig):
    """Pictures, each with a mask as another picture of the same size."""

    kind: Literal["image_mask_pairs"] = "image_mask_pairs"
    """This source."""
    image: Pattern = "{name}.jpg"
    """Names of the images below the path; {name} is the part that the mask's name shares."""
    mask: Pattern = "{name}_mask.png"
    """Names of the masks below the path."""
    regions: Literal["inside", "numbered"] = "inside"
    """Meaning of a mask's grey levels: all but 0 are inside, or each is the number of a region."""

    def build(self, root: Path) -> "ImageMaskPairsSource":
        """Return the source, which keeps what it unpacks or fetches below a root."""
        return ImageMaskPairsSource(self, root)


@dataclass(frozen=True)
class ImageMaskPairsSource(NamedFilesSource[ImageMaskPairsConfig]):
    """List images with their masks and read them."""

    def find(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """Find all images with their masks."""
        return paired(names, self.config.image, self.config.mask)

    def images(self, item: Item, identity: Identity) -> Iterator[Example]:
        """Read an image with its mask."""
        pixels = read_page(item.path)
        mask = read_mask(item.beside[0], pixels.shape[:2], numbered=self.config.regions == "numbered")
        yield Example(plain(pixels, identity), mask=mask, values=grey_levels(pixels.dtype))


def paired(names: Collection[str], image: str, mask: str) -> dict[str, tuple[str, ...]]:
    """Find images by the pattern of their names, each with its mask if there is a pattern for masks.

    Raises:
        SourceError: no name fits the pattern of images, or a mask is missing.
    """
    before, after = image.split("{name}")
    fits = re.compile(f"{re.escape(before)}(?P<name>.+){re.escape(after)}")
    images = {name: mask.replace("{name}", found["name"]) for name in sorted(names) if (found := fits.fullmatch(name))}
    if mask:
        # If both patterns end alike, masks fit the pattern of images too.
        masks = set(images.values())
        images = {name: its_mask for name, its_mask in images.items() if name not in masks}
    if not images:
        raise SourceError(f"no file is named like {image!r}; set source.image to how images are named")
    lacking = sum(its_mask not in names for its_mask in images.values()) if mask else 0
    if lacking:
        raise SourceError(
            f"{lacking} of {len(images)} images have no mask named like {mask!r}; set source.mask to how "
            "masks are named, or take those images away"
        )
    return {name: (its_mask,) if mask else () for name, its_mask in images.items()}
