"""Archives that tests pack, and what is left of them when they are refused."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from rayology.data.sources.files.archive import ArchiveLimits, unpacked
from rayology.errors import SourceError

CONTENT = {"a": b"1", "b/c": b"", "b/d e/f.dcm": bytes(range(256)) * 9000}
KINDS = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz"]
TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}


def packed(archive: Path, content: dict[str, bytes]) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, value in content.items():
                opened.writestr(name, value)
        return archive
    with tarfile.open(archive, TAR_MODES["".join(archive.suffixes)]) as opened:  # type: ignore[call-overload]
        for name, value in content.items():
            add(opened, name, value)
    return archive


def add(opened: tarfile.TarFile, name: str, value: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(value), "a"
    opened.addfile(info, io.BytesIO(value))


def held(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


def left(root: Path) -> list[str]:
    return [entry.name for entry in (root / "sources").iterdir() if not entry.name.endswith(".lock")]


def refuse(archive: Path, root: Path, match: str, limits: ArchiveLimits | None = None) -> None:
    with pytest.raises(SourceError, match=match):
        unpacked(archive, root, limits or ArchiveLimits())
    assert left(root) == []
