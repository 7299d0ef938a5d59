"""Ending a training before its last step: all processes end after the same one, with a checkpoint.

A file asks for it, or the machine of a process that is about to be taken away.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from rayology.training.gradients import Workers

__all__ = ["STOP", "ask_to_stop", "stoppable"]

STOP = "stop"  # in the folder of a run while it is trained; not empty once the training is asked to end
SECONDS_BETWEEN_LOOKS = 2.0
LOOK, END = 1, 2


def ask_to_stop(folder: Path) -> bool:
    """Ask the training in a folder to end after its step, with a checkpoint; False if none is going on there."""
    try:
        # Written to and not made: a shared file system may show a new file to others much later.
        with (folder / STOP).open("r+", encoding="utf-8") as file:
            file.write("asked")
    except FileNotFoundError:
        return False
    return True


@contextmanager
def stoppable(
    folder: Path, workers: Workers, is_leaving: Callable[[], bool] = lambda: False, *, timeout: timedelta | None = None
) -> Iterator[Callable[[], bool]]:
    """Yield what every process calls after each step: whether all of them end now.

    Args:
        folder: where a file asks for it.
        workers: the processes.
        is_leaving: whether a machine is about to be taken away; all processes call it together, now and then.
        timeout: how long a process waits for the leading one.
    """
    file, looked_at = folder / STOP, time.monotonic()
    # Messages between processors: the flag waits for no accelerator.
    group = distributed.new_group(backend="gloo", timeout=timeout) if workers.count > 1 else None

    def is_asked() -> bool:
        nonlocal looked_at
        flag, now = torch.zeros(1), time.monotonic()
        if workers.leads and now - looked_at >= SECONDS_BETWEEN_LOOKS:
            looked_at = now
            flag += LOOK
            with suppress(OSError):  # read, because a shared file system may answer from a cache what it is
                flag += bool(file.read_bytes())
        if group is not None:
            distributed.broadcast(flag, src=0, group=group)
        return bool(flag == END) or (bool(flag == LOOK) and is_leaving())

    if workers.leads:
        file.touch()
    try:
        yield is_asked
    finally:
        if group is not None:
            distributed.destroy_process_group(group)
        if workers.leads:
            with suppress(OSError):  # who starts the training again clears it away
                file.unlink(missing_ok=True)
