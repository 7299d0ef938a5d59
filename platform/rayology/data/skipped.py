"""The files of a source that gave no image, by name: a name may name a patient, so the list stays with the key."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rayology.atomic import write_atomic
from rayology.data.census import Census
from rayology.data.sources import Item

__all__ = ["list_skipped"]

MAX_LISTED = 10_000
"""How many skipped files are listed by name; all are counted."""


def list_skipped(file: Path, items: Sequence[Item], census: Census) -> None:
    """Write names below the source and reasons of the first skipped files where only their owner reads them."""
    listed = [
        {"file": os.path.relpath(item.path, census.folder), "part": item.part, "reason": census.reasons[item]}
        for item in items
        if item in census.reasons
    ]
    write_atomic(file, (json.dumps(listed[:MAX_LISTED], indent=2) + "\n").encode())
