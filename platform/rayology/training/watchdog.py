"""A bound on the time of a step: a process that hangs ends, and is started again as one that was lost."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["watchdog"]

logger = logging.getLogger(__name__)


@contextmanager
def watchdog(limit_s: float) -> Iterator[Callable[[], None]]:
    """Yield what is called at each step; if a call is longer ago than the limit, the process ends with status 1.

    Where each of its threads was goes to stderr first. A process that is frozen whole, so that no thread of it runs,
    is for Ray to notice.
    """
    moved_at, ended = time.monotonic(), threading.Event()

    def move() -> None:
        nonlocal moved_at
        moved_at = time.monotonic()

    def watch() -> None:
        while not ended.wait(min(1.0, limit_s / 4)):
            if time.monotonic() - moved_at > limit_s:
                words = "A worker ends because it, or one that it waits for, took no step for %g minutes."
                logger.error(words, limit_s / 60)
                faulthandler.dump_traceback()
                os._exit(1)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield move
    finally:
        ended.set()
