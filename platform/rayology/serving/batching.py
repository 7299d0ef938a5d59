"""Gather what concurrent requests ask for into batches."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rayology.errors import BusyError

__all__ = ["Batcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")

RECENT = 0.2  # weight of the last batch in the mean time of a batch


@dataclass(eq=False)
class _Submitted(Generic[Item, Result]):
    """The items of one request."""

    items: Sequence[Item]
    future: "asyncio.Future[list[Result]]"
    results: dict[int, Result] = field(default_factory=dict)
    num_taken: int = 0


class Batcher(Generic[Item, Result]):
    """Run a function on whatever queued while it last ran; there is no timer, so an idle server answers at once.

    Requests take turns, an item each, so that one who asks for many images does not hold up one who asks for few. A
    request whose items do not fit among those that may wait is refused, which happens to a small one later. Items whose
    request was given up are left out.

    Args:
        run: the function, from a batch of items to their results.
        executor: what it runs in.
        batch_size: the most items of a batch.
        max_waiting: how many items may wait before more are refused.
        on_batch: told how many items a batch has.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        executor: Executor,
        *,
        batch_size: int,
        max_waiting: int,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._run, self._executor, self._on_batch = run, executor, on_batch
        self._batch_size, self._max_waiting = batch_size, max_waiting
        self._queue: deque[_Submitted[Item, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._batch_s, self._num_running = 0.0, 0
        self.num_batches = self.num_computed = 0
        """Batches and items that were computed; their ratio tells how full batches are."""

    @property
    def num_waiting(self) -> int:
        """Items that wait for a batch."""
        return sum(len(each.items) - each.num_taken for each in self._queue if not each.future.done())

    @property
    def num_pending(self) -> float:
        """Full batches that what waits and what is being computed make."""
        return (self.num_waiting + self._num_running) / self._batch_size

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Return the results of the items, in their order; raise what the function raised.

        Raises:
            BusyError: the items do not fit among those that may wait; half of their room is enough for any number.
        """
        if not items:
            return []
        waiting, room = self.num_waiting, max(1, min(len(items), self._max_waiting // 2))
        if waiting + room > self._max_waiting:
            raise BusyError(
                f"{waiting} images wait to be computed, which leaves no room: try again",
                retry_after_s=math.ceil(waiting / self._batch_size) * self._batch_s,
            )
        loop = asyncio.get_running_loop()
        submitted = _Submitted[Item, Result](items, loop.create_future())
        self._queue.append(submitted)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await submitted.future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            began_at, self._num_running = time.monotonic(), len(batch)
            try:
                self._on_batch(len(batch))
                results = await loop.run_in_executor(
                    self._executor, self._run, [submitted.items[index] for submitted, index in batch]
                )
            except Exception as error:  # noqa: BLE001 - one batch that fails must not stop the next
                for submitted, _ in batch:
                    if not submitted.future.done():
                        submitted.future.set_exception(error)
                continue
            finally:
                self._num_running = 0
            self.num_batches, self.num_computed = self.num_batches + 1, self.num_computed + len(batch)
            self._batch_s += (RECENT if self._batch_s else 1.0) * (time.monotonic() - began_at - self._batch_s)
            for (submitted, index), result in zip(batch, results, strict=True):
                submitted.results[index] = result
                if len(submitted.results) == len(submitted.items) and not submitted.future.done():
                    submitted.future.set_result([submitted.results[row] for row in range(len(submitted.items))])

    def _next_batch(self) -> list[tuple[_Submitted[Item, Result], int]]:
        batch: list[tuple[_Submitted[Item, Result], int]] = []
        while self._queue and len(batch) < self._batch_size:
            submitted = self._queue.popleft()
            if submitted.future.done():
                continue
            batch.append((submitted, submitted.num_taken))
            submitted.num_taken += 1
            if submitted.num_taken < len(submitted.items):
                self._queue.append(submitted)
        return batch
