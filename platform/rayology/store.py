"""Where bundles live: models by name, each with versions that never change and one pointer to its champion."""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path, PurePosixPath
from typing import Final

from pyarrow import fs

from rayology.atomic import make_once, write_atomic
from rayology.bundle import MANIFEST, Bundle, Manifest, read_manifest
from rayology.errors import BundleError, ConfigError, MissingVersion, StoreError
from rayology.models.base import MODEL_NAME
from rayology.uri import located
from rayology.usage import typed

__all__ = ["CHAMPION", "Canary", "Store"]

logger = logging.getLogger(__name__)

CHAMPION: Final = "champion"
CANARY: Final = "canary"
RECORDS = "sweeps"
VERSION = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
MOST_REMEMBERED = 20  # earlier champions
CACHE = Path("~/.cache/rayology/bundles")


@dataclass(frozen=True)
class Canary:
    """A version that answers a share of the requests, to be watched before it becomes the champion."""

    version: str
    share: float
    """Part of the requests, between 0 and 1."""


class Store:
    """A folder, or an object store's URI such as ``s3://bucket/prefix``, that holds models by name.

    ``NAME/VERSION/`` is a bundle; its manifest is written last, and the version exists once that does.
    ``NAME/champion`` is one small object: the champion's version, then those of earlier champions, the newest first.
    ``NAME/canary`` is another: a version and the share of the requests that it answers.
    Older stores have ``VERSION/`` and ``champion`` at their root: these belong to the model that their manifests name,
    and are left in place.

    Every method raises StoreError if the place cannot be reached, or if a name is not one that a model can have.
    """

    def __init__(self, uri: str) -> None:
        try:
            place = located(uri)
        except ValueError as error:
            raise StoreError(f"no store; write a folder or an object store's URI ({error})") from None
        self._fs, self._root, self._is_remote = place.files, place.path, place.is_remote
        self._names_at_root: dict[str, str] = {}  # they never change
        self.uri = uri

    def models(self) -> list[str]:
        """List the names of the models."""
        folders = [entry.base_name for entry in self._entries() if entry.type == fs.FileType.Directory]
        names = {self._name_at_root(folder) for folder in folders} | {each for each in folders if self._below(each)}
        return sorted(name for name in names if MODEL_NAME.fullmatch(name) and name != CHAMPION)

    def resolve(self, name: str = "") -> str:
        """Return the name, or that of the only model if it is empty.

        Raises:
            StoreError: the store has no such model, or none at all.
            ConfigError: the name is empty, and the store holds several models.
        """
        models = self.models()
        if name in models:
            return name
        if not models:
            raise StoreError(f"{self.uri}: holds no model; {_how_to_fill()}")
        if name:
            raise StoreError(f"{self.uri}: holds no model {_checked(name)!r}; name one of: {', '.join(models)}")
        if len(models) > 1:
            raise ConfigError(f"{self.uri}: holds several models; name one of: {', '.join(models)}")
        return models[0]

    def versions(self, name: str) -> list[str]:
        """List the versions of a model, the oldest first."""
        return sorted(self._folders(_checked(name)))

    def publish(self, bundle: Bundle, name: str = "") -> str:
        """Copy a bundle in, under its own name unless another is given, and return its version.

        A version is the time when the bundle was written, then a hash of its content: the same content is the same
        version, whoever publishes it and however often.
        """
        name = _checked(name or bundle.manifest.name)
        manifest = (bundle.path / MANIFEST).read_bytes()
        digest = hashlib.sha256(manifest).hexdigest()[:8]
        for version, folder in self._folders(name).items():
            if version.endswith(digest) and self._read(f"{folder}/{MANIFEST}") == manifest:
                return version
        version = f"{bundle.manifest.provenance.created_at.astimezone(UTC):%Y%m%d-%H%M%S}-{digest}"
        with self._reachable():
            self._fs.create_dir(self._place(name, version), recursive=True)
            for file in bundle.manifest.files:
                self._put(self._place(name, version, file), (bundle.path / file).read_bytes())
            self._put(self._place(name, version, MANIFEST), manifest)
        return version

    def champion(self, name: str) -> str:
        """Return the version of a model that is its champion.

        Raises:
            StoreError: it has none.
        """
        champions = self.champions(name)
        if champions:
            return champions[0]
        if versions := self.versions(name):
            which = "its version" if len(versions) == 1 else f"one of its {len(versions)} versions"
            flags = ["--action", "promote", "--store", self.uri, "--name", name, "--version", versions[-1]]
            raise StoreError(f"{self.uri}: {name} has no champion; promote {which}: {typed('models', *flags)}")
        raise StoreError(f"{self.uri}: {name} has no champion; {_how_to_fill()}{self._models_listed()}")

    def champions(self, name: str) -> list[str]:
        """Return the champion, then those before it, the newest first.

        Raises:
            StoreError: what says so cannot be understood.
        """
        with suppress(FileNotFoundError):
            return self._words(_checked(name), CHAMPION)
        with suppress(FileNotFoundError):
            at_root = self._words(CHAMPION)
            # One that cannot be read may be this model's: nothing takes its place unasked.
            return [each for each in at_root if VERSION.fullmatch(each) and self._name_at_root(each) in {name, ""}]
        return []

    def champion_or_none(self, name: str) -> str | None:
        """Return the version of a model that is its champion, if one is."""
        return next(iter(self.champions(name)), None)

    def pin(self, name: str, version: str) -> str:
        """Return the version, or that of the champion if it says ``champion``.

        Raises:
            StoreError: it does, and the model has no champion.
        """
        return self.champion(name) if version == CHAMPION else version

    def set_champion(self, name: str, version: str) -> None:
        """Make a version the champion in one step, however good it is; the last writer wins.

        ``rayology.training.promotion`` checks first whether it should be.

        Raises:
            StoreError: there is no such version.
        """
        self._folder(name, version)
        before = self.champions(name)
        if before[:1] == [version]:
            return
        self._point(name, [version, *before])
        with suppress(StoreError):  # one that is damaged names no version
            if (canary := self.canary(name)) and canary.version == version:
                self.end_canary(name)
        replaced = f", in place of {before[0]}" if before else ""
        logger.info("%s: %s is the champion of %s%s.", self.uri, version, name, replaced)

    def rollback(self, name: str) -> str:
        """Make the previous champion the champion again, in one step, end the canary, and return the version.

        Raises:
            StoreError: there was no earlier champion, or none is left in the store.
        """
        current, there = self.champion(name), self.earlier_champions(name)
        self._point(name, there)
        self.end_canary(name)
        logger.info("%s: %s is the champion of %s again, in place of %s.", self.uri, there[0], name, current)
        return there[0]

    def earlier_champions(self, name: str) -> list[str]:
        """Return the champions before this one that are in the store, the newest first: one at least.

        Raises:
            StoreError: as ``rollback``.
        """
        current, *earlier = self.champions(name) or [self.champion(name)]
        known = self._folders(name)
        there = [version for version in earlier if version in known]
        if not there and earlier:
            gone = f"{earlier[0]}, the champion before {current}, is no longer in the store"
            raise StoreError(f"{self.uri}: {name}: {gone}; restore it, or promote another version instead")
        if not there:
            raise StoreError(f"{self.uri}: {name} had no champion before {current}; promote another version instead")
        return there

    def canary(self, name: str) -> Canary | None:
        """Return the version that answers a share of the requests, if there is one.

        Raises:
            StoreError: what says so cannot be understood.
        """
        try:
            version, share = self._read(self._place(_checked(name), CANARY)).decode().split()
            canary = Canary(version, float(share))
        except FileNotFoundError:
            return None
        except ValueError:
            raise StoreError(f"{self.uri}: {name}/{CANARY} is damaged; set the canary again, or end it") from None
        return canary if canary.share > 0 else None

    def set_canary(self, name: str, canary: Canary) -> None:
        """Let a version answer a share of the requests from now on, whatever is in it.

        ``rayology.training.promotion`` checks first whether it may.

        Raises:
            StoreError: there is no such version, it is the champion, or the share is not between 0 and 1.
        """
        if not 0 <= canary.share <= 1:
            raise StoreError(f"share: {canary.share:g} is not between 0 and 1")
        self._folder(name, canary.version)
        if canary.version == self.champion_or_none(name):
            raise StoreError(f"version: {canary.version} is the champion of {name}; name another as its canary")
        with self._reachable():
            self._put(self._place(name, CANARY), f"{canary.version} {canary.share:g}".encode())
        logger.info("%s: %s answers %g of the requests to %s.", self.uri, canary.version, canary.share, name)

    def end_canary(self, name: str) -> bool:
        """Let the champion answer all requests again, and return whether there was a canary."""
        with self._reachable(), suppress(FileNotFoundError):
            self._fs.delete_file(self._place(_checked(name), CANARY))
            return True
        return False

    def require(self, name: str, version: str) -> None:
        """Refuse a version that is not there, without a look at others.

        Raises:
            StoreError: it is not there, or the store cannot be reached.
        """
        places = (self._place(_checked(name), version, MANIFEST), self._place(version, MANIFEST))
        if not VERSION.fullmatch(version) or not any(map(self._is_file, places)):
            raise MissingVersion(f"{self.uri}: {name} has no version {version[:40]!r}")

    def fetch(self, name: str, version: str) -> Path:
        """Return the folder of a version; a remote one is copied to this machine once.

        Raises:
            StoreError: there is no such version.
        """
        source = self._folder(name, version)
        if not self._is_remote:
            return Path(source)
        folder = CACHE.expanduser() / hashlib.sha256(self.uri.encode()).hexdigest()[:16] / name / version
        with self._reachable():
            make_once(folder, lambda unfinished: fs.copy_files(source, str(unfinished), source_filesystem=self._fs))
        return folder

    def manifest(self, name: str, version: str) -> Manifest:
        """Read the manifest of a version, without its weights; only loading the bundle checks its files.

        Raises:
            StoreError: there is no such version.
            BundleError: the manifest is not readable.
        """
        return self._manifest(f"{self._folder(name, version)}/{MANIFEST}")

    def keep_record(self, name: str, content: bytes) -> None:
        """Keep the record of a sweep in one step, in place of an earlier one."""
        with self._reachable():
            self._fs.create_dir(self._place(RECORDS), recursive=True)
            self._put(self._place(RECORDS, f"{name}.json"), content)

    def records(self) -> dict[str, bytes]:
        """Return the records of sweeps by their names, the oldest first."""
        entries = sorted(self._entries(RECORDS), key=lambda entry: (entry.mtime_ns or 0, entry.base_name))
        return {entry.base_name[:-5]: self._read(entry.path) for entry in entries if entry.extension == "json"}

    def _folder(self, name: str, version: str) -> str:
        """Return the folder of a version."""
        if _checked(name) and VERSION.fullmatch(version):
            if self._is_file(self._place(name, version, MANIFEST)):
                return self._place(name, version)
            if self._is_file(self._place(version, MANIFEST)) and self._name_at_root(version) == name:
                return self._place(version)
        known = ", ".join(self.versions(name)[-3:]) or "none"
        raise MissingVersion(
            f"{self.uri}: {name} has no version {version[:40]!r}; the newest are: {known}{self._models_listed()}"
        )

    def _folders(self, name: str) -> dict[str, str]:
        """Return where each version of a model lies."""
        at_root = (entry.base_name for entry in self._entries() if self._name_at_root(entry.base_name) == name)
        return {version: self._place(version) for version in at_root} | self._below(name)

    def _below(self, name: str) -> dict[str, str]:
        """Return where each version of a model lies below its own folder."""
        entries = self._entries(name, recursive=True)
        manifests = (PurePosixPath(entry.path) for entry in entries if entry.base_name == MANIFEST)
        folders = (manifest.parent for manifest in manifests)
        return {
            folder.name: str(folder)
            for folder in folders
            if folder.parent == PurePosixPath(self._place(name)) and VERSION.fullmatch(folder.name)
        }

    def _entries(self, name: str = "", *, recursive: bool = False) -> list[fs.FileInfo]:
        """List what lies at the root, or below the folder of a model."""
        selector = fs.FileSelector(self._place(name) if name else self._root, recursive=recursive, allow_not_found=True)
        with self._reachable():
            try:
                return self._fs.get_file_info(selector)
            except FileNotFoundError:  # Arrow found no folder to list, then one that another process had just made
                return self._fs.get_file_info(selector)

    def _name_at_root(self, version: str) -> str:
        """Return the model of a version at the root, as older stores have them; empty for what is not one."""
        if not VERSION.fullmatch(version):
            return ""
        if version not in self._names_at_root:
            try:
                self._names_at_root[version] = self._manifest(self._place(version, MANIFEST)).name
            except (FileNotFoundError, BundleError):
                return ""
        return self._names_at_root[version]

    def _manifest(self, file: str) -> Manifest:
        return read_manifest(self._read(file), file=file)[0]

    def _point(self, name: str, champions: Sequence[str]) -> None:
        with self._reachable():
            self._fs.create_dir(self._place(name), recursive=True)
            self._put(self._place(name, CHAMPION), "\n".join(champions[: 1 + MOST_REMEMBERED]).encode())

    def _models_listed(self) -> str:
        models = ", ".join(self.models())
        return f"; its models: {models}" if models else ""

    def _place(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _is_file(self, path: str) -> bool:
        with self._reachable():
            return bool(self._fs.get_file_info(path).type == fs.FileType.File)

    def _read(self, path: str) -> bytes:
        with self._reachable(), self._fs.open_input_stream(path) as stream:
            return bytes(stream.read())

    def _words(self, *parts: str) -> list[str]:
        """Read the words of a pointer."""
        try:
            return self._read(self._place(*parts)).decode().split()
        except UnicodeDecodeError:
            raise StoreError(
                f"{self.uri}: {'/'.join(parts)} is damaged; restore a copy, or delete it and promote a version"
            ) from None

    def _put(self, path: str, content: bytes) -> None:
        """Write an object in one step, as object stores do by themselves."""
        if not self._is_remote:
            write_atomic(Path(path), content, mode=0o666)
            return
        with self._fs.open_output_stream(path) as stream:
            stream.write(content)

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


def _how_to_fill() -> str:
    return f"run {typed('tune')}, or {typed('publish')} with a bundle"


def _checked(name: str) -> str:
    """Return the name if a model can have it; the store reserves one for its pointer."""
    if not MODEL_NAME.fullmatch(name) or name == CHAMPION:
        raise StoreError(
            f"name: {name[:40]!r} is not a name for a model; write up to 40 lower-case letters, digits and hyphens"
            f" that are not {CHAMPION!r}"
        )
    return name
