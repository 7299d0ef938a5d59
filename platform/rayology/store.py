"""Where bundles live: versions that never change, and one pointer to the champion."""

import hashlib
import logging
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pyarrow import ArrowInvalid, fs

from rayology.bundle import MANIFEST, Bundle
from rayology.errors import StoreError

__all__ = ["Store"]

logger = logging.getLogger(__name__)

CHAMPION = "champion"
MAX_COPIES = 0.2  # a model more of whose samples are copies of training images is not promoted


class Store:
    """A folder, or an object store's URI such as ``s3://bucket/prefix``, that holds bundles."""

    def __init__(self, uri: str) -> None:
        try:
            if "://" in uri:
                self._fs, self._root = fs.FileSystem.from_uri(uri)
            else:
                self._fs, self._root = fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
        except ArrowInvalid as error:
            raise StoreError(f"{uri}: no store; write a folder or an object store's URI ({error})") from None
        self.uri = uri

    def publish(self, bundle: Bundle) -> str:
        """Copy a bundle in and return its version: the time, then a hash of its content."""
        content = hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()[:8]
        version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{content}"
        if version in self.versions():  # the same bundle, published twice within a second
            return version
        partial = f"{self._root}/.{version}.partial"
        self._fs.create_dir(partial, recursive=True)
        fs.copy_files(
            str(bundle.path), partial, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self._fs
        )
        self._fs.move(partial, self._place(version))
        return version

    def promote(self, version: str) -> None:
        """Make a version the champion, in one step; the last writer wins.

        Raises:
            StoreError: there is no such version, or too many of its samples are copies of training images.
        """
        copies = Bundle.load(self.fetch(version)).manifest.metrics.get("copies", 0.0)
        if copies > MAX_COPIES:
            raise StoreError(
                f"{version}: {copies:.0%} of its samples are copies of training images, more than {MAX_COPIES:.0%}: not"
                " promoted; train on more patients, or for fewer steps"
            )
        pointer = f"{self._root}/{CHAMPION}"
        partial = pointer if self._is_remote else f"{pointer}.partial"
        with self._fs.open_output_stream(partial) as stream:
            stream.write(version.encode())
        if not self._is_remote:
            self._fs.move(partial, pointer)
        logger.info("Version %s is the champion of %s.", version, self.uri)

    def champion(self) -> str:
        """Return the version that was promoted last.

        Raises:
            StoreError: none was.
        """
        try:
            with self._fs.open_input_stream(f"{self._root}/{CHAMPION}") as stream:
                return stream.read(100).decode()
        except FileNotFoundError:
            raise StoreError(
                f"{self.uri}: has no champion; run jobs/tune.py, or jobs/publish.py with a bundle"
            ) from None

    def versions(self) -> list[str]:
        """List the versions, the oldest first."""
        found = self._fs.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return sorted(
            entry.base_name for entry in found if entry.type == fs.FileType.Directory and entry.base_name[0] != "."
        )

    def fetch(self, version: str) -> Path:
        """Return the folder of a version, copied to this machine first if the store is elsewhere.

        Raises:
            StoreError: there is no such version.
        """
        if (
            not re.fullmatch(r"[0-9a-f-]{1,40}", version)
            or self._fs.get_file_info(self._place(version)).type != fs.FileType.Directory
        ):
            known = ", ".join(self.versions()[-3:]) or "none"
            raise StoreError(f"{self.uri}: has no version {version[:40]!r}; the newest are: {known}")
        if not self._is_remote:
            return Path(self._place(version))
        folder = Path(tempfile.mkdtemp(prefix="rayology-"))
        fs.copy_files(
            self._place(version), str(folder), source_filesystem=self._fs, destination_filesystem=fs.LocalFileSystem()
        )
        return folder

    @property
    def _is_remote(self) -> bool:
        return not isinstance(self._fs, fs.LocalFileSystem)

    def _place(self, version: str) -> str:
        return f"{self._root}/{version}"
