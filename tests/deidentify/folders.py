"""Folders of files on their way through de-identification."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rayology.deidentify import ProfileConfig, Report, deidentify_folder

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)


def run(root: Path, config: ProfileConfig | None = None, source: Path | None = None) -> Report:
    return deidentify_folder(source or root / "source", root / "output", root / "private", config or ProfileConfig())


def copies(root: Path) -> list[Path]:
    return sorted((root / "output").rglob("*.dcm"))


def everything_below(folder: Path) -> bytes:
    names = "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*")).encode()
    return names + b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
