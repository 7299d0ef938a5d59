"""Data sets on their way through de-identification."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.sequence import Sequence

from rayology.deidentify import ProfileConfig, deidentify, encoded
from rayology.deidentify.files import content

WriteDicom = Callable[..., Path]
RAMP = np.arange(16, dtype=np.uint16).reshape(4, 4)
KEY = b"key"


def deidentified(file: Path, config: ProfileConfig | None = None, key: bytes = KEY) -> Dataset:
    """Return what a file's de-identified copy holds when it is read again."""
    result = deidentify(content(file).dataset, (config or ProfileConfig()).build(), key)
    return content(encoded(result.dataset)).dataset


def item(**attributes: object) -> Sequence:
    """Return a sequence of one item."""
    held = Dataset()
    for keyword, value in attributes.items():
        setattr(held, keyword, value)
    return Sequence([held])
