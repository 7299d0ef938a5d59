"""What every source of images gives: files, with what is known of them before they are opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Item", "Source"]


@dataclass(frozen=True)
class Item:
    """A file that may hold an image."""

    path: Path
    label: str = ""
    """The name of its class; empty where it has none."""
    mask: Path | None = None
    """A PNG of the same rows and columns, not 0 inside the lesion."""


class Source(Protocol):
    """Where images come from; its config builds it with ``build(root)``, the folder where it may keep what it makes."""

    def items(self) -> Sequence[Item]:
        """List every file, in an order that only the files determine.

        Raises:
            SourceError: the source is not there or holds no file.
        """
        ...
