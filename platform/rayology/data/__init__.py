"""Images on the way to a model: sources, the DICOM reader, and prepared datasets."""

from typing import Annotated

from pydantic import Field

from rayology.data.batches import Plan, feeding
from rayology.data.dataset import DatasetInfo, PreparedDataset, Split
from rayology.data.folder import FolderConfig
from rayology.data.phantom import PhantomConfig
from rayology.data.preparation import PreparationConfig
from rayology.data.walk import Sampling

__all__ = [
    "DatasetInfo",
    "FolderConfig",
    "PhantomConfig",
    "Plan",
    "PreparationConfig",
    "PreparedDataset",
    "Sampling",
    "SourceConfig",
    "Split",
    "feeding",
]

SourceConfig = Annotated[PhantomConfig | FolderConfig, Field(discriminator="kind")]
"""Every source there is; its ``kind`` chooses."""
