"""Suppress the warnings and logs of libraries, which quote values of files and addresses of archives."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["suppress_output"]

LOGGERS = tuple(
    map(logging.getLogger, ("pydicom", "nibabel", "nibabel.global", "httpx", "httpcore.connection", "httpcore.http11"))
)
_lock = threading.Lock()


class _Muted(logging.Filter):
    """Drop what is logged in the threads that asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: dict[int, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread not in self.threads


_muted = _Muted()
_without_warnings = ExitStack()


@contextmanager
def suppress_output() -> Iterator[None]:
    """Mute the libraries in this thread, and Python's warnings in all threads while any thread is inside.

    All threads share the state of ``warnings``, so the first one changes it and the last one restores it.
    """
    own = threading.get_ident()
    with _lock:
        if not _muted.threads:
            _without_warnings.enter_context(warnings.catch_warnings(action="ignore"))
            for logger in LOGGERS:
                logger.addFilter(_muted)
        _muted.threads[own] = _muted.threads.get(own, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _muted.threads[own] -= 1
            if not _muted.threads[own]:
                del _muted.threads[own]
            if not _muted.threads:
                _without_warnings.close()
