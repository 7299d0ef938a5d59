"""Drawn bodies on their way into datasets, and what datasets say of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayology.data import FolderConfig, PreparationConfig, PreparedDataset
from rayology.data.prepare import prepare

WriteDicom = Callable[..., Path]
SMALL = PreparationConfig(size=16)


def body(seed: int) -> NDArray[np.int16]:
    """Draw a square body in air, in Hounsfield units."""
    pixels = np.full((32, 32), -1000, np.int16)
    pixels[8:24, 8:24] = np.random.default_rng(seed).integers(-100, 900, (16, 16))
    return pixels


def prepared(folder: Path, **preparation: object) -> PreparedDataset:
    config = PreparationConfig.model_validate({"size": 16} | preparation)
    return prepare(FolderConfig(path=folder), config, folder.parent / "root")


def all_rows(dataset: PreparedDataset) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(dataset.path / "index.parquet").to_pylist()
    return rows


def skipped_file(dataset: PreparedDataset) -> Path:
    return dataset.path.parents[1] / "keys" / f"{dataset.path.name}.skipped.json"


def skipped(dataset: PreparedDataset) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(skipped_file(dataset).read_text())
    return listed
