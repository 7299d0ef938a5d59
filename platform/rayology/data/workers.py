"""Work for many processes: on Ray's workers if it runs, else in this one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
    """Do tasks and yield what they return in their order, a bounded number of them ahead.

    Raises:
        DataError: as the work raised it, without Ray's account of where.
    """
    if not is_parallel():
        yield from map(work, tasks)
        return
    remote, shared = ray.remote(_do), ray.put(work)
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    pending = deque[object]()
    with _raised_as_there():
        for task in tasks:
            pending.append(remote.remote(shared, task))
            if len(pending) > ahead:
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())


@contextmanager
def _raised_as_there() -> Iterator[None]:
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise


def _do(work: Callable[[T], R], task: T) -> R:
    return work(task)
