"""What libraries raise on damaged files, turned into our own errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from rayology.data.suppression import suppress_output
from rayology.errors import DataError, SourceError, UnreadableImage

__all__ = ["as_source_error", "as_unreadable"]


@contextmanager
def as_unreadable(complaint: str) -> Iterator[None]:
    """Turn whatever is raised while a file is read into UnreadableImage, without the text of the error.

    The message is the complaint, such as "its header cannot be read", and the type of the error.
    """
    try:
        with suppress_output():
            yield
    except DataError:
        raise
    except BaseException as error:
        # One bad file must not stop the rest, and codecs written in Rust panic with a BaseException.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, OSError) and error.strerror:  # errors of codecs have none
            raise UnreadableImage(f"cannot be opened: {error.strerror}; check the path and its permissions") from None
        raise UnreadableImage(f"{complaint} ({type(error).__name__}); damaged") from None


@contextmanager
def as_source_error(place: object, complaint: str, remedy: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of some kinds into SourceError: place, complaint, reason and remedy.

    The reason is the operating system's, or the type of the error: its other words may quote a file. The message of a
    SourceError from within is prefixed with the place once.
    """
    try:
        yield
    except SourceError as error:
        raise SourceError(f"{place}: {str(error).removeprefix(f'{place}: ')}") from None
    except kinds as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(f"{place}: {complaint} ({reason}); {remedy}") from None
