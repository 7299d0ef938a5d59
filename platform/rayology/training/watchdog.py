"""A bound on the time of a step: a process that hangs ends, and is started again as one that was lost."""

import faulthandler
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["watchdog"]

SECONDS_BETWEEN_MOVES = 1.0  # setting the clock back takes a tenth of a millisecond


@contextmanager
def watchdog(limit_s: float) -> Iterator[Callable[[], None]]:
    """Yield what is called at each step; if the last call is longer ago than the limit, the process ends with status 1.

    Where each of its threads was goes to stderr first. It needs no thread of Python, which code that hangs may hold up.
    A process that is frozen whole is for Ray to notice.
    """
    moved_at = -math.inf

    def move() -> None:
        nonlocal moved_at
        now = time.monotonic()
        if now - moved_at > min(SECONDS_BETWEEN_MOVES, limit_s / 10):
            moved_at = now
            faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.__stderr__ or 2)

    move()
    try:
        yield move
    finally:
        faulthandler.cancel_dump_traceback_later()
