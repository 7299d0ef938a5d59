"""Batches of a split in the order that a training wants them, made ahead by a thread."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int, UInt16
from numpy.typing import NDArray
from torch import Tensor

from rayology.data.dataset import Split
from rayology.data.walk import Sampling
from rayology.image import Batch, to_model_range

__all__ = ["Levels", "Plan", "feeding", "gathering"]

T = TypeVar("T")
AHEAD = 1  # batches made while one is in use; more buffers would only leave the processor's cache


@dataclass(frozen=True)
class Plan:
    """Which rows of which global batches a process takes, one after another."""

    steps: range
    rows: Sequence[slice]
    """Of each batch, the parts that fall to this process, all of one length."""
    batch_size: int
    """Images of a global batch."""
    seed: int
    sampling: Sampling = "natural"

    def __iter__(self) -> Iterator[tuple[int, slice]]:
        return ((step, rows) for step in self.steps for rows in self.rows)

    @property
    def length(self) -> int:
        """Images of each part."""
        return len(range(self.batch_size)[self.rows[0]])


@dataclass(frozen=True)
class Levels:
    """Stored levels on the device, and the labels of the images."""

    stored: UInt16[Tensor, "batch channel *space"]
    labels: Int[Tensor, " batch"]


@contextmanager
def feeding(split: Split, plan: Plan, device: torch.device) -> Iterator[Callable[[int, slice], Batch]]:
    """Give the batches of a plan, each to be asked for in its turn; the thread that makes them ends with the block.

    Memory is used again: a batch is good until as many more were taken as a step has parts. An error of the thread is
    raised where its batch is asked for.

    Raises:
        DatasetError: sampling is balanced and the dataset has no classes.
    """
    with _ahead(split, plan, device, _Slot.batch) as feed:
        yield feed


@contextmanager
def gathering(split: Split, plan: Plan, device: torch.device) -> Iterator[Callable[[int, slice], Levels]]:
    """Give the batches of a plan as ``feeding`` does, as the integers that are stored."""
    with _ahead(split, plan, device, _Slot.levels) as gather:
        yield gather


class _Slot:
    """Memory for one part of a batch, used again and again."""

    def __init__(self, split: Split, length: int, device: torch.device) -> None:
        shape = (length, *split.info.image.shape)
        is_cuda = device.type == "cuda"
        self._split, self._device = split, device
        self._stored = torch.empty(shape, dtype=torch.uint16, pin_memory=is_cuda)
        self._labels = torch.empty(length, dtype=torch.int64, pin_memory=is_cuda)
        self._floats = torch.empty(shape, device=device)
        # Kernels of both threads wait in one line, so that none reads memory before it is filled, or after.
        self._stream = torch.cuda.current_stream(device) if is_cuda else None
        self._copied = torch.cuda.Event() if is_cuda else None

    def levels(self, indices: NDArray[np.int64]) -> Levels:
        """Copy images from the memory map and hand them to the device, after those before them have left."""
        if self._copied is not None:
            self._copied.synchronize()
        self._split.stored(indices, out=self._stored.numpy())
        np.take(self._split.labels, indices, out=self._labels.numpy())
        with torch.cuda.stream(self._stream):
            stored = self._stored.to(self._device, non_blocking=True)
            labels = self._labels.to(self._device, non_blocking=True)
            if self._copied is not None:
                self._copied.record()
        return Levels(stored, labels)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Scale the integers on the device, in place."""
        levels = self.levels(indices)
        with torch.cuda.stream(self._stream):
            floats = self._floats.copy_(levels.stored)
            return Batch(to_model_range(floats, self._split.info.image.values, out=floats), levels.labels)


@contextmanager
def _ahead(
    split: Split, plan: Plan, device: torch.device, make: Callable[[_Slot, NDArray[np.int64]], T]
) -> Iterator[Callable[[int, slice], T]]:
    """Make what is asked for next while the last is in use.

    One thread does all of it: a second that scaled what the first gathered would fetch it from the other's cache.
    """
    walk = split.walk(seed=plan.seed, sampling=plan.sampling)
    slots = itertools.cycle([_Slot(split, plan.length, device) for _ in range(len(plan.rows) + AHEAD)])
    wanted = iter(plan)
    waiting: deque[tuple[tuple[int, slice], Future[T]]] = deque()

    def made(slot: _Slot, places: NDArray[np.int64]) -> T:
        return make(slot, walk.at(places))

    with ThreadPoolExecutor(1, thread_name_prefix="feeding") as thread:

        def order_next() -> None:
            for step, rows in itertools.islice(wanted, 1):
                places = step * plan.batch_size + np.arange(plan.batch_size)[rows]
                waiting.append(((step, rows), thread.submit(made, next(slots), places)))

        def take(step: int, rows: slice) -> T:
            order_next()
            planned, future = waiting.popleft()
            assert planned == (step, rows)  # noqa: S101 - the plan is made of what the loop asks for
            return future.result()

        for _ in range(AHEAD):
            order_next()
        try:
            yield take
        finally:
            thread.shutdown(cancel_futures=True)
