"""Raise errors that a C function can only print, after which a decoder of HTJ2K leaves an image unfinished."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["unraisable_errors_raised"]

Hook = Callable[["sys.UnraisableHookArgs"], object]


class _Caught(threading.local):
    """What the calling thread's block has caught so far; None outside a block."""

    errors: list[BaseException] | None = None


_caught = _Caught()


@contextmanager
def unraisable_errors_raised() -> Iterator[None]:
    """Raise at the end of the block the first error of this thread that its callees could not raise."""
    if not isinstance(sys.unraisablehook, _Collector):  # a test runner may have set its own meanwhile
        sys.unraisablehook = _Collector(sys.unraisablehook)
    errors: list[BaseException] = []
    _caught.errors = errors
    try:
        yield
    finally:
        _caught.errors = None
    if errors:
        raise errors[0]


class _Collector:
    """A hook that keeps the errors of a block, and passes on all others."""

    def __init__(self, previous: Hook) -> None:
        self._previous = previous

    def __call__(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if _caught.errors is not None and unraisable.exc_value is not None:
            _caught.errors.append(unraisable.exc_value)
        else:
            self._previous(unraisable)
