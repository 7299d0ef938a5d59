"""Images on the way to a model: sources, the DICOM reader, and prepared datasets."""

from rayology.data.batches import Plan, feeding
from rayology.data.dataset import DatasetInfo, PreparedDataset, Split
from rayology.data.preparation import PreparationConfig
from rayology.data.sampler import Sampling
from rayology.data.sources import (
    DicomwebConfig,
    FolderConfig,
    IdxConfig,
    ImageFolderConfig,
    ImageMaskPairsConfig,
    MedMnistConfig,
    NiftiConfig,
    PhantomConfig,
    SourceConfig,
)

__all__ = [
    "DatasetInfo",
    "DicomwebConfig",
    "FolderConfig",
    "IdxConfig",
    "ImageFolderConfig",
    "ImageMaskPairsConfig",
    "MedMnistConfig",
    "NiftiConfig",
    "PhantomConfig",
    "Plan",
    "PreparationConfig",
    "PreparedDataset",
    "Sampling",
    "SourceConfig",
    "Split",
    "feeding",
]
