"""Ctrl-C, and SIGTERM as a scheduler sends it: the first ends a job in order, the second there and then."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rayology.progress import console

__all__ = ["GRACE_S", "interruptible"]

INTERRUPTED = 130  # the exit status that a shell gives to what SIGINT ended: 128 and its number
GRACE_S = 15
"""Seconds in which workers may finish their step and write a checkpoint."""
MOST_S = GRACE_S + 10  # an order to end that is never obeyed, such as by a lost cluster, is then enforced


@contextmanager
def interruptible(going_on: str = "", *, status: int = INTERRUPTED) -> Iterator[None]:
    """Have Ctrl-C say at once that the job ends, and how it goes on; it raises KeyboardInterrupt in the block.

    What leaves the block after that is the exit of the process with 130, or the status of a job that only ends so,
    whatever failed while it ended, and even if something swallowed the interrupt, as Ray may.
    A signal that was ignored stays so, as in the background of a shell.
    """
    bound = threading.Timer(MOST_S, _end)
    bound.daemon = True

    def interrupt(*_: object) -> None:
        for number in before:
            signal.signal(number, _end)
        bound.start()
        sentence = f"Interrupted: it ends within {MOST_S} s, and at once if interrupted again."
        words = f"{sentence} To go on: {going_on}" if going_on else sentence
        console.print(words, highlight=False, markup=False, soft_wrap=True)
        raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    is_interrupted = False
    try:
        yield
    except KeyboardInterrupt:
        is_interrupted = True
    except BaseException:
        if not bound.ident:
            raise
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is interrupt:
                signal.signal(number, handler)
    if is_interrupted or bound.ident:
        bound.cancel()
        raise SystemExit(status)


def _end(*_: object) -> None:
    """End without a further word; what Ray started here ends with this process."""
    try:
        console.show_cursor()
    finally:
        os._exit(INTERRUPTED)
