"""Work on Ray's workers if Ray runs, else in this process."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import ray
from ray.exceptions import RayTaskError

from rayology.errors import DataError

__all__ = ["in_order", "is_parallel"]

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


def _do(work: Callable[[T], R], task: T) -> R:
    return work(task)
