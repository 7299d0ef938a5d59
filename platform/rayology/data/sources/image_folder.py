"""A folder of pictures, PNG, JPEG and TIFF, with classes by folder or from a table."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rayology.data.identity import Identity
from rayology.data.sources.labels import Naming
from rayology.data.sources.named import NamedFilesConfig, NamedFilesSource
from rayology.data.sources.raster import SUFFIXES, grey_levels, plain, read_raster
from rayology.data.sources.source import Example, Item
from rayology.errors import SourceError

__all__ = ["ImageFolderConfig", "ImageFolderSource"]


class ImageFolderConfig(NamedFilesConfig):
    """All PNG, JPEG and TIFF pictures below a folder; 8 and 16 bits keep all their grey levels."""

    kind: Literal["image_folder"] = "image_folder"
    """This source."""
    labels: Literal["none", "folder", "table"] = "folder"
    """Origin of classes: none, the first folder below the path (or below a split's), or the table. Their names are
    published in datasets, bundles and servers, and a patient's folder such as Jane_Doe cannot be told from a class."""
    splits: Literal["none", "folder"] = "none"
    """Whether the first folder below the path is a split: train, val or validation, test."""

    def build(self, root: Path) -> "ImageFolderSource":
        """Return the source, which keeps what it unpacks or fetches below a root."""
        return ImageFolderSource(self, root)

    @property
    def naming(self) -> Naming:
        """Rules by which names give class, patient and split."""
        return Naming(self.labels, self.splits, self.patient, self.table)


@dataclass(frozen=True)
class ImageFolderSource(NamedFilesSource[ImageFolderConfig]):
    """List pictures and read them."""

    def find(self, names: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """Find all pictures."""
        found = {name: () for name in names if Path(name).suffix.lower() in SUFFIXES}
        if not found:
            raise SourceError("holds no PNG, JPEG or TIFF; set source.path to a folder of pictures")
        return found

    def images(self, item: Item, identity: Identity) -> Iterator[Example]:
        """Read every page of a picture."""
        for page, pixels in enumerate(read_raster(item.path)):
            whose = replace(identity, series=f"{item.part}/{page}")
            yield Example(plain(pixels, whose), values=grey_levels(pixels.dtype))
