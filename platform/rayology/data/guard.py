"""What libraries raise on damaged files, turned into our own error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rayology.data.quiet import quiet
from rayology.errors import DataError, UnreadableImage

__all__ = ["guarded"]


@contextmanager
def guarded(kind: str) -> Iterator[None]:
    """Turn whatever is raised while a file is read into UnreadableImage, keeping what it says of the file to itself."""
    try:
        with quiet():
            yield
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file makes the libraries raise anything
        raise UnreadableImage(f"is no {kind} that can be read ({type(error).__name__}); damaged") from None
