"""Gather what concurrent requests ask for into batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Batcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Run a function on whatever queued while it last ran; there is no timer, so an idle server answers at once."""

    def __init__(
        self, run: Callable[[Sequence[Item]], Sequence[Result]], executor: Executor, *, batch_size: int
    ) -> None:
        self._run = run
        self._executor = executor
        self._batch_size = batch_size
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Return the results of the items, in their order; raise what the function raised."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await asyncio.gather(*futures)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            try:
                results = await loop.run_in_executor(self._executor, self._run, [item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - one batch that fails must not stop the next
                for _, future in batch:
                    with suppress(asyncio.InvalidStateError):  # its client has gone
                        future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    with suppress(asyncio.InvalidStateError):
                        future.set_result(result)

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """Take waiting items, leaving out those whose client has gone."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._batch_size:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch
