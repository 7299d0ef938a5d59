"""Images on the way to a model: sources, the DICOM reader, and prepared datasets."""

from typing import Annotated

from pydantic import Field

from rayology.data.batches import Plan, feeding
from rayology.data.dataset import DatasetInfo, PreparedDataset, Split
from rayology.data.dicomweb import DicomwebConfig
from rayology.data.folder import FolderConfig
from rayology.data.idx import IdxConfig
from rayology.data.medmnist import MedMnistConfig
from rayology.data.nifti import NiftiConfig
from rayology.data.pairs import PairsConfig
from rayology.data.phantom import PhantomConfig
from rayology.data.pictures import PicturesConfig
from rayology.data.preparation import PreparationConfig
from rayology.data.walk import Sampling

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

SourceConfig = Annotated[
    PhantomConfig
    | FolderConfig
    | DicomwebConfig
    | PicturesConfig
    | PairsConfig
    | NiftiConfig
    | IdxConfig
    | MedMnistConfig,
    Field(discriminator="kind"),
]
"""Every source there is; its ``kind`` chooses."""
