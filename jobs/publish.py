"""Put a bundle into the store and make it the champion.

python jobs/publish.py --bundle .rayology/runs/NAME/bundle

ray job submit --working-dir . --runtime-env-json '{"env_vars": {"PYTHONPATH": "platform"}}' -- \
    python jobs/publish.py --bundle /shared/rayology/runs/NAME/bundle --store s3://bucket/rayology
"""

from collections.abc import Mapping
from pathlib import Path

from rayology.bundle import Bundle
from rayology.config import Config
from rayology.job import run
from rayology.store import Store


class PublishConfig(Config):
    """What to publish, and where."""

    bundle: Path = Path("bundle")
    """Folder of the bundle, as train and tune print it."""
    store: str = ".rayology/store"
    """A folder, or an object store's URI such as s3://bucket/prefix."""
    promote: bool = True
    """Whether it becomes the champion, which is what is served."""


def main(config: PublishConfig) -> Mapping[str, object]:
    """Return the new version."""
    store = Store(config.store)
    version = store.publish(Bundle.load(config.bundle.expanduser()))
    if config.promote:
        store.promote(version)
    return {"store": store.uri, "version": version, "champion": config.promote}


if __name__ == "__main__":
    run(PublishConfig, main)
