"""Put a bundle into the store and, if it is better than the champion of its name, make it the champion.

rayology publish --bundle .rayology/runs/NAME/bundle
rayology publish --bundle .rayology/runs/NAME/bundle --store s3://bucket/rayology --no-promote
"""

from collections.abc import Mapping
from pathlib import Path

from rayology.bundle import Bundle
from rayology.config import Config
from rayology.errors import ConfigError, StoreError
from rayology.gates import refusals
from rayology.store import Store
from rayology.training.promotion import promote


class PublishConfig(Config):
    """What to publish, and where."""

    bundle: Path
    """Folder of the bundle, as train and tune print it."""
    name: str = ""
    """Name of the model in the store; empty for that of its experiment."""
    store: str = ""
    """A folder, or an object store's URI such as s3://bucket/prefix; empty for the folder store of the storage."""
    storage: Path = Path(".rayology")
    """Folder of the datasets, as in the experiment: on one of them it is compared with the champion."""
    promote: bool = True
    """Whether it becomes the champion, which is what is served."""
    force: bool = False
    """Whether it does so even if it is worse than the champion, or cannot be compared with it."""


def main(config: PublishConfig) -> Mapping[str, object]:
    """Return the version, and what became of it."""
    bundle = Bundle.load(config.bundle.expanduser())
    if not config.store and not config.storage.expanduser().is_dir():
        raise ConfigError(
            f"storage: there is no {config.storage}; name the folder of the training, or the store with --store"
        )
    store = Store(config.store or str(config.storage / "store"))
    if config.promote and (refused := refusals(bundle.manifest)):
        raise StoreError(
            f"{bundle.path}: {'; '.join(refused)}. Nothing was published: --force does not overrule a gate, "
            "--no-promote stores the bundle all the same"
        )
    name = config.name or bundle.manifest.name
    version = store.publish(bundle, name)
    if not config.promote:
        champion = store.champion_or_none(name) or ""
        return {"store": store.uri, "name": name, "version": version, "promoted": False, "champion": champion}
    return promote(store, name, version, storage=config.storage, force=config.force).answer()
