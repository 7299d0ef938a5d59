"""Sources of images, each in one file behind the protocol ``Source``, and what they share."""

from typing import Annotated

from pydantic import Field

from rayology.data.sources.dicomweb import DicomwebConfig
from rayology.data.sources.folder import FolderConfig
from rayology.data.sources.idx import IdxConfig
from rayology.data.sources.image_folder import ImageFolderConfig
from rayology.data.sources.image_mask_pairs import ImageMaskPairsConfig
from rayology.data.sources.medmnist import MedMnistConfig
from rayology.data.sources.nifti import NiftiConfig
from rayology.data.sources.phantom import PhantomConfig
from rayology.data.sources.source import Example, Item, Source

__all__ = [
    "DicomwebConfig",
    "Example",
    "FolderConfig",
    "IdxConfig",
    "ImageFolderConfig",
    "ImageMaskPairsConfig",
    "Item",
    "MedMnistConfig",
    "NiftiConfig",
    "PhantomConfig",
    "Source",
    "SourceConfig",
]

SourceConfig = Annotated[
    PhantomConfig
    | FolderConfig
    | DicomwebConfig
    | ImageFolderConfig
    | ImageMaskPairsConfig
    | NiftiConfig
    | IdxConfig
    | MedMnistConfig,
    Field(discriminator="kind"),
]
"""Config of any source; its ``kind`` chooses."""
