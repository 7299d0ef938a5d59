"""Where bundles live: versions that never change, and one pointer to the champion."""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pyarrow import fs

from rayology.bundle import MANIFEST, Bundle
from rayology.errors import StoreError
from rayology.uri import located

__all__ = ["Store"]

logger = logging.getLogger(__name__)

CHAMPION = "champion"
COPIES = "copies"
MAX_COPIES = 0.2  # a model more of whose samples are copies of training images is not promoted
CACHE = Path("~/.cache/rayology/bundles")


class Store:
    """A folder, or an object store's URI such as ``s3://bucket/prefix``, that holds bundles.

    A version is there once its manifest is: it is written last. Every method raises StoreError where the place cannot
    be reached.
    """

    def __init__(self, uri: str) -> None:
        try:
            place = located(uri)
        except ValueError as error:
            raise StoreError(f"no store; write a folder or an object store's URI ({error})") from None
        self._fs, self._root, self._is_remote = place.files, place.path, place.is_remote
        self.uri = uri

    def publish(self, bundle: Bundle) -> str:
        """Copy a bundle in and return its version: the time, then a hash of its content."""
        manifest = (bundle.path / MANIFEST).read_bytes()
        version = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{hashlib.sha256(manifest).hexdigest()[:8]}"
        with self._reachable():
            self._fs.create_dir(self._place(version), recursive=True)
            for name in bundle.manifest.files:
                self._put(f"{version}/{name}", (bundle.path / name).read_bytes())
            self._put(f"{version}/{MANIFEST}", manifest)
        return version

    def promote(self, version: str) -> None:
        """Make a version the champion, in one step; the last writer wins.

        Raises:
            StoreError: there is no such version, or too many of its samples are copies of training images, or nobody
                counted them.
        """
        copies = Bundle.load(self.fetch(version)).manifest.metrics.get(COPIES)
        if copies is None:
            raise StoreError(f"{version}: has no figure {COPIES!r}, so it is not promoted; train it again")
        if copies > MAX_COPIES:
            raise StoreError(
                f"{version}: {copies:.0%} of its samples are copies of training images, more than {MAX_COPIES:.0%}:"
                " not promoted; train on more patients, or for fewer steps, or for more where all samples look alike"
            )
        before = self._champion_or_none()
        with self._reachable():
            self._put(CHAMPION, version.encode())
        replaced = f", in place of {before}" if before not in {None, version} else ""
        logger.info("Version %s is the champion of %s%s.", version, self.uri, replaced)

    def champion(self) -> str:
        """Return the version that was promoted last.

        Raises:
            StoreError: none was.
        """
        try:
            with self._reachable(), self._fs.open_input_stream(self._place(CHAMPION)) as stream:
                return stream.read(100).decode()
        except FileNotFoundError:
            raise StoreError(
                f"{self.uri}: has no champion; run jobs/tune.py, or jobs/publish.py with a bundle"
            ) from None

    def _champion_or_none(self) -> str | None:
        try:
            return self.champion()
        except StoreError:
            return None

    def versions(self) -> list[str]:
        """List the versions, the oldest first."""
        with self._reachable():
            selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
            found = [entry.path for entry in self._fs.get_file_info(selector) if entry.base_name == MANIFEST]
        return sorted(Path(path).parent.name for path in found)

    def fetch(self, version: str) -> Path:
        """Return the folder of a version; one from elsewhere is copied to this machine once.

        Raises:
            StoreError: there is no such version.
        """
        if not re.fullmatch(r"[0-9a-f-]{1,40}", version) or version not in self.versions():
            known = ", ".join(self.versions()[-3:]) or "none"
            raise StoreError(f"{self.uri}: has no version {version[:40]!r}; the newest are: {known}")
        if not self._is_remote:
            return Path(self._place(version))
        folder = CACHE.expanduser() / hashlib.sha256(self.uri.encode()).hexdigest()[:16] / version
        if not folder.exists():
            partial = folder.with_name(f".{version}-{uuid4().hex}")
            partial.mkdir(parents=True)
            with self._reachable():
                fs.copy_files(self._place(version), str(partial), source_filesystem=self._fs)
            with suppress(OSError):  # another process was first
                partial.rename(folder)
        return folder

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _put(self, name: str, content: bytes) -> None:
        """Write an object in one step: object stores do, a disk does by renaming."""
        written = self._place(name) if self._is_remote else f"{self._place(name)}.{uuid4().hex}"
        with self._fs.open_output_stream(written) as stream:
            stream.write(content)
        if not self._is_remote:
            self._fs.move(written, self._place(name))

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.uri}: cannot be reached or written ({error}); see the address and rights"
            ) from error
