"""A dataset on a node's own disk, copied there once from the storage that all nodes share."""

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from rayology.atomic import atomic_folder, sole_use
from rayology.data import PreparedDataset
from rayology.errors import DatasetError

__all__ = ["cached"]

logger = logging.getLogger(__name__)


def cached(path: Path, cache: Path | None) -> PreparedDataset:
    """Open a dataset, or its copy in ``cache`` if that lies on another disk; the first process of a node makes it.

    A copy whose hashes are not those of ``dataset.json`` is made anew. If none can be made, a warning says why.
    """
    shared = PreparedDataset.open(path)
    if cache is None:
        return shared
    folder = cache.expanduser().absolute() / shared.info.fingerprint
    try:
        folder.parent.mkdir(0o700, parents=True, exist_ok=True)
        if folder.parent.stat().st_dev == path.stat().st_dev:
            return shared
        if not _is_whole(folder):
            with sole_use(folder):
                if not _is_whole(folder):  # nobody made it meanwhile
                    _copy(shared, folder)
        return PreparedDataset.open(folder)
    except (DatasetError, OSError) as error:
        logger.warning("scaling.cache: no copy of the dataset (%s); the storage is read instead.", error)
        return shared


def _copy(shared: PreparedDataset, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    needed, free = sum(file.num_bytes for file in shared.info.files), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise DatasetError(f"it takes {needed / 2**30:.3f} GiB, {folder.parent} has {free / 2**30:.3f}")
    with atomic_folder(folder) as unfinished:
        shutil.copytree(shared.path, unfinished, dirs_exist_ok=True)
        if not _is_whole(unfinished):
            raise DatasetError("what was copied differs from what dataset.json says")


def _is_whole(folder: Path) -> bool:
    with suppress(DatasetError, OSError):
        PreparedDataset.open(folder).verify()
        return True
    return False
