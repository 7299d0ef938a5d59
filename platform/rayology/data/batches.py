"""Batches of a split in the order that a training wants them, made ahead by a thread."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int, UInt8, UInt16
from numpy.typing import NDArray
from torch import Tensor

from rayology.data.dataset import Split
from rayology.data.sampler import Sampling
from rayology.image import Batch, to_model_range

__all__ = ["Levels", "Plan", "feeding", "gathering"]

T = TypeVar("T")
AHEAD = 1  # batches made while one is in use; more buffers would only leave the processor's cache


@dataclass(frozen=True)
class Plan:
    """Which rows of which global batches a process takes, one after another."""

    steps: range
    rows: Sequence[slice]
    """The parts of each batch that fall to this process, all of one length."""
    batch_size: int
    """Images of a global batch."""
    seed: int
    sampling: Sampling = "natural"
    pack: int = 1
    """Number of consecutive images of one class."""
    with_masks: bool = False
    """Whether masks come with the images."""

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
    masks: UInt8[Tensor, "batch *space"] | None = None


@contextmanager
def feeding(split: Split, plan: Plan, device: torch.device) -> Iterator[Callable[[int, slice], Batch]]:
    """Give the batches of a plan, each to be asked for in its turn; the thread that makes them ends with the block.

    Memory is reused: a batch is valid until as many more were taken as a step has parts. An error of the thread is
    raised where its batch is asked for.

    Raises:
        DatasetError: sampling is balanced and the dataset has no classes, a class is smaller than a pack, or masks are
            wanted and the dataset has none.
    """
    slots = _slots(split, plan, device, are_integers_kept=device.type != "cpu")
    with _ahead(split, plan, [slot.batch for slot in slots]) as feed:
        yield feed


@contextmanager
def gathering(split: Split, plan: Plan, device: torch.device) -> Iterator[Callable[[int, slice], Levels]]:
    """Give the batches of a plan as ``feeding`` does, as the integers that are stored."""
    slots = _slots(split, plan, device, are_integers_kept=True)
    with _ahead(split, plan, [slot.levels for slot in slots]) as gather:
        yield gather


class _Slot:
    """Reused memory for one part of a batch."""

    def __init__(
        self, split: Split, stored: UInt16[Tensor, "batch channel *space"], device: torch.device, *, with_masks: bool
    ) -> None:
        is_cuda = device.type == "cuda"
        self._split, self._device = split, device
        self._stored = stored
        self._with_masks = with_masks
        self._labels = torch.empty(len(stored), dtype=torch.int64, pin_memory=is_cuda)
        # Kernels of both threads share one stream, so that none reads memory before it is filled or after it is reused.
        self._line = torch.cuda.stream(torch.cuda.current_stream(device)) if is_cuda else nullcontext()
        self._copied = torch.cuda.Event() if is_cuda else None

    @functools.cached_property
    def _floats(self) -> Tensor:
        return torch.empty(self._stored.shape, device=self._device)

    def levels(self, indices: NDArray[np.int64]) -> Levels:
        """Copy images from the memory map and hand them to the device, after those before them have left."""
        if self._copied is not None:
            self._copied.synchronize()
        self._split.stored(indices, out=self._stored.numpy())
        np.take(self._split.labels, indices, out=self._labels.numpy())
        with self._line:
            stored = self._stored.to(self._device, non_blocking=True)
            labels = self._labels.to(self._device, non_blocking=True)
            masks = torch.from_numpy(self._split.masks(indices)).to(self._device) if self._with_masks else None
            if self._copied is not None:
                self._copied.record()
        return Levels(stored, labels, masks)

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Scale the integers on the device, in place."""
        levels = self.levels(indices)
        with self._line:
            floats = self._floats.copy_(levels.stored)
            images = to_model_range(floats, self._split.info.image.values, out=floats)
            return Batch(images, levels.labels, levels.masks)


def _slots(split: Split, plan: Plan, device: torch.device, *, are_integers_kept: bool) -> list[_Slot]:
    """Return memory for the batches in use and those ahead; they share one buffer of integers unless those are kept."""
    num_slots = len(plan.rows) + AHEAD
    shape = (plan.length, *split.info.image.shape)
    stored = [
        torch.empty(shape, dtype=torch.uint16, pin_memory=device.type == "cuda")
        for _ in range(num_slots if are_integers_kept else 1)
    ]
    each_in_turn = itertools.islice(itertools.cycle(stored), num_slots)
    return [_Slot(split, each, device, with_masks=plan.with_masks) for each in each_in_turn]


@dataclass(frozen=True)
class _Failure:
    """Stands in for a batch that could not be made."""

    error: BaseException


@contextmanager
def _ahead(
    split: Split, plan: Plan, makers: Sequence[Callable[[NDArray[np.int64]], T]]
) -> Iterator[Callable[[int, slice], T]]:
    """Make the next batch while the last one is in use; makers take turns.

    One thread does all of it: a second one would have to fetch what the first gathered from the other core's cache.
    """
    sampler = split.sampler(seed=plan.seed, sampling=plan.sampling, pack=plan.pack)
    idle: SimpleQueue[Callable[[NDArray[np.int64]], T] | None] = SimpleQueue()
    made: SimpleQueue[T | _Failure] = SimpleQueue()
    turns, asked = itertools.cycle(makers), iter(plan)

    def work() -> None:
        end: BaseException = RuntimeError("the plan, or the block, has ended")
        try:
            for (step, rows), make in zip(plan, iter(idle.get, None), strict=False):  # None ends it earlier
                made.put(make(sampler.at(step * plan.batch_size + np.arange(plan.batch_size)[rows])))
        except BaseException as error:  # noqa: BLE001 - raised where the batch is asked for, which would otherwise wait forever
            end = error
        made.put(_Failure(end))

    def take(step: int, rows: slice) -> T:
        planned = next(asked, None)
        assert planned == (step, rows)  # noqa: S101 - the plan is made of what the loop asks for
        idle.put(next(turns))
        batch = made.get()
        if isinstance(batch, _Failure):
            made.put(batch)  # for whoever asks again
            raise batch.error
        return batch

    for _ in range(AHEAD):
        idle.put(next(turns))
    thread = threading.Thread(target=work, name="feeding", daemon=True)
    thread.start()
    try:
        yield take
    finally:
        idle.put(None)
        thread.join()
