"""Keep what libraries say of a file or an archive to ourselves: their warnings and logs quote values and addresses."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["suppress_output"]

LOGGERS = tuple(
    map(logging.getLogger, ("pydicom", "nibabel", "nibabel.global", "httpx", "httpcore.connection", "httpcore.http11"))
)
_lock = threading.Lock()


class _Muted(logging.Filter):
    """Drop what is logged in the threads that asked for it, and nothing of other threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: dict[int, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread not in self.threads


_muted = _Muted()


@contextmanager
def suppress_output() -> Iterator[None]:
    """Mute the libraries in this thread, and Python's warnings in all for as long as any thread is inside.

    The state of ``warnings`` is one for all threads, so it is changed by the first that comes and restored by the last.
    """
    own = threading.get_ident()
    with _lock:
        if not _muted.threads:
            _Warnings.held = warnings.catch_warnings()
            _Warnings.held.__enter__()
            warnings.simplefilter("ignore")
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
                _Warnings.held.__exit__(None, None, None)


class _Warnings:
    """What restores the warnings."""

    held: "warnings.catch_warnings[None]"
