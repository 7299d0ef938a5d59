"""A folder on disk or an object store's URI, as a file system and a path in it."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pyarrow import fs

__all__ = ["Place", "located"]


RETRY_LIMIT = "retry_limit_seconds"
GOOGLE_PATIENCE_S = 60
"""After which Google's client gives up, which by itself asks for a quarter of an hour."""


@dataclass(frozen=True)
class Place:
    """Where files or objects lie."""

    files: fs.FileSystem
    path: str

    @property
    def is_remote(self) -> bool:
        """Whether it lies anywhere but on a disk that this machine mounts."""
        return not isinstance(self.files, fs.LocalFileSystem)


def located(uri: str) -> Place:
    """Find the place that a path, or a URI such as ``s3://bucket/prefix``, ``gs://...`` or ``file:///...``, names.

    Raises:
        ValueError: the URI has another scheme, or holds a password.
        OSError: the object store cannot be asked where the bucket lies.
    """
    if "://" not in uri:
        return Place(fs.LocalFileSystem(), str(Path(uri).expanduser().absolute()))
    if urlsplit(uri).password is not None:
        # A URI is written into experiments and logs; the stores read their own environment variables.
        raise ValueError(
            "the URI holds a password; give it in the environment, as the object store's own tools take it"
        )
    if uri.startswith(("gs://", "gcs://")) and RETRY_LIMIT not in uri:
        uri += f"{'&' if '?' in uri else '?'}{RETRY_LIMIT}={GOOGLE_PATIENCE_S}"
    files, path = fs.FileSystem.from_uri(uri)
    return Place(files, path)
