"""What libraries raise on damaged files, turned into our own error."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rayology.errors import DataError, UnreadableImage

__all__ = ["guarded"]


@contextmanager
def guarded(kind: str) -> Iterator[None]:
    """Turn whatever is raised while a file is read into UnreadableImage, keeping what it says of the file to itself."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # nibabel logs what it finds in headers
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file makes the libraries raise anything
        raise UnreadableImage(f"is no {kind} that can be read ({type(error).__name__}); damaged") from None
    finally:
        logging.disable(previous)
