"""A dataset on a node's own disk, copied there once from the storage that all nodes share."""

import logging
import shutil
from functools import partial
from pathlib import Path

from rayology.atomic import make_once
from rayology.data import PreparedDataset
from rayology.errors import DatasetError

__all__ = ["cached"]

logger = logging.getLogger(__name__)


def cached(path: Path, cache: Path | None) -> PreparedDataset:
    """Open a dataset, or its copy in ``cache`` if that lies on another disk; the first process of a node makes it.

    If none can be made, or a hash is not that of ``dataset.json``, a warning says so and the storage is read.
    """
    shared = PreparedDataset.open(path)
    if cache is None:
        return shared
    folder = cache.expanduser().absolute() / shared.info.fingerprint
    try:
        folder.parent.mkdir(0o700, parents=True, exist_ok=True)
        if folder.parent.stat().st_dev == path.stat().st_dev:
            return shared
        make_once(folder, partial(_copy, shared))
        copy = PreparedDataset.open(folder)
        copy.verify()
    except (DatasetError, OSError) as error:
        logger.warning("scaling.cache: the dataset has no usable copy (%s); the storage is read instead.", error)
        return shared
    return copy


def _copy(shared: PreparedDataset, unfinished: Path) -> None:
    needed, free = sum(file.num_bytes for file in shared.info.files), shutil.disk_usage(unfinished).free
    if needed > free:
        raise DatasetError(f"it takes {needed / 2**30:.3f} GiB, {unfinished.parent} has {free / 2**30:.3f}")
    shutil.copytree(shared.path, unfinished, dirs_exist_ok=True)
