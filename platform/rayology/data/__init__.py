"""Images on the way to a model: sources, the DICOM reader, and prepared datasets."""

from typing import Annotated

from pydantic import Field

from rayology.data.dataset import DatasetInfo, PreparedDataset, Split
from rayology.data.dicomweb import DicomwebConfig
from rayology.data.folder import FolderConfig
from rayology.data.idx import IdxConfig
from rayology.data.medmnist import MedMnistConfig
from rayology.data.phantom import PhantomConfig
from rayology.data.preparation import PreparationConfig

__all__ = [
    "DatasetInfo",
    "DicomwebConfig",
    "FolderConfig",
    "IdxConfig",
    "MedMnistConfig",
    "PhantomConfig",
    "PreparationConfig",
    "PreparedDataset",
    "SourceConfig",
    "Split",
]

SourceConfig = Annotated[
    PhantomConfig | FolderConfig | DicomwebConfig | IdxConfig | MedMnistConfig, Field(discriminator="kind")
]
"""Every source there is; its ``kind`` chooses."""
