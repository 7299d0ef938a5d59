"""Work on Ray's workers if Ray runs, else in this process."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, repeat
from typing import TypeVar

import ray
from ray.exceptions import RayTaskError

from rayology.errors import DataError

__all__ = ["in_order", "is_parallel", "waiting_for"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


def is_parallel() -> bool:
    """Return whether there are workers besides this process."""
    return bool(ray.is_initialized())


def in_order(work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
    """Yield the results of tasks in order, a bounded number of tasks ahead; a DataError is raised as it was."""
    if not is_parallel():
        yield from map(work, tasks)
        return
    _await_core()
    remote, shared = ray.remote(_do), ray.put(work)
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending = deque[object]()
    try:
        for task in tasks:
            pending.append(remote.remote(shared, task))
            if len(pending) > ahead:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise


def waiting_for(wanted: Mapping[str, float], whom: str) -> str:
    """Say which cores and GPUs someone waits for, and how many of them are free."""
    free, held = ray.available_resources(), ray.cluster_resources()
    words = {"CPU": ("core", "cores"), "GPU": ("GPU", "GPUs")}
    amounts = " and ".join(f"{amount:g} {words[name][amount != 1]}" for name, amount in wanted.items())
    room = " and ".join(f"{free.get(name, 0):g} of {held.get(name, 0):g} {words[name][1]}" for name in wanted)
    too_few = any(held.get(name, 0) < amount for name, amount in wanted.items())
    return f"waiting for {amounts}, for {whom}; {room} are free{'; the cluster has to grow first' * too_few}"


def _await_core() -> None:
    """Log, until a task can start, that none can."""
    probe = ray.remote(_do).remote(bool, 0)
    for patience_s in chain([5], repeat(60)):
        if ray.wait([probe], timeout=patience_s)[0]:
            return
        if ray.available_resources().get("CPU", 0) < 1:  # else a worker's process is being started
            logger.info("%s.", waiting_for({"CPU": 1}, "1 task"))


def _do(work: Callable[[T], R], task: T) -> R:
    return work(task)
