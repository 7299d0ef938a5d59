"""Images on the way to a model: sources, the DICOM reader, and prepared datasets."""

from rayology.data.batches import Plan, feeding
from rayology.data.dataset import DatasetInfo, PreparedDataset, Split
from rayology.data.preparation import PreparationConfig
from rayology.data.sampler import Sampling
from rayology.data.sources import (
    DicomwebConfig,
    FolderConfig,
    IdxConfig,
    MedMnistConfig,
    NiftiConfig,
    PairsConfig,
    PhantomConfig,
    PicturesConfig,
    SourceConfig,
)

__all__ = [
    "DatasetInfo",
    "DicomwebConfig",
    "FolderConfig",
    "IdxConfig",
    "MedMnistConfig",
    "NiftiConfig",
    "PairsConfig",
    "PhantomConfig",
    "PicturesConfig",
    "Plan",
    "PreparationConfig",
    "PreparedDataset",
    "Sampling",
    "SourceConfig",
    "Split",
    "feeding",
]
