"""Gradients of one phase, summed over microbatches, then over workers, in an order that never changes; and workers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from rayology.errors import RayologyError

__all__ = ["ALONE", "Workers", "clip_norm", "only_trainable"]

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """The processes that share a training, seen from one of them."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process computes figures and writes."""
        return self.rank == 0

    def microbatches(self, batch_size: int, pieces: int) -> Sequence[slice]:
        """Return the rows of a global batch that fall to this process, one slice a microbatch.

        Pieces are equally long and dealt in runs, as evenly as they go: of 4 pieces, 3 processes take 2, 1 and 1.

        >>> Workers(rank=1, count=2).microbatches(batch_size=8, pieces=4)
        [slice(4, 6, None), slice(6, 8, None)]
        """
        size = batch_size // pieces
        own = self.rows(batch_size, size)
        return [slice(start, start + size) for start in range(own.start, own.stop, size)]

    def rows(self, count: int, size: int) -> slice:
        """Return which of ``count`` rows, cut into parts of ``size``, fall to this process: whole parts, in one run.

        >>> [Workers(rank, 2).rows(count=80, size=32) for rank in range(2)]
        [slice(0, 64, None), slice(64, 80, None)]
        """
        each, more = divmod(-(-count // size), self.count)
        start = self.rank * each + min(self.rank, more)
        return slice(min(start * size, count), min((start + each + (self.rank < more)) * size, count))

    def agreed(self, value: T) -> T:
        """Return what the leading process passes, in every process."""
        if self.count == 1:
            return value
        shared = [value]
        distributed.broadcast_object_list(shared)
        return shared[0]

    def gathered(self, value: T) -> list[T]:
        """Return what each process passes, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values = [value] * self.count
        distributed.all_gather_object(values, value)
        return values

    def in_all(self, work: Callable[[], T]) -> T:
        """Do this process's part of what all do; if it fails in some, all raise what the first of those raised."""
        failure: Exception | None = None
        try:
            done = work()
        except (RayologyError, torch.OutOfMemoryError) as error:
            failure = error
        for each in self.gathered(failure):
            if each is not None:
                raise each
        return done

    def joined(self, work: Callable[[], Tensor], count: int, size: int) -> Tensor:
        """Have each process make its ``rows``, and return all of them, in order, in the leading one.

        If one fails, all raise its error, as ``in_all`` does. The others get their own rows back.
        """

        def own_and_room() -> tuple[Tensor, Tensor]:
            own = work()
            return own, own.new_empty(count, *own.shape[1:]) if self.leads and self.count > 1 else own

        own, whole = self.in_all(own_and_room)
        if self.rank and len(own):
            distributed.send(own, 0)
        if whole is own:
            return own
        whole[: len(own)] = own
        for rank in range(1, self.count):
            if len(theirs := whole[replace(self, rank=rank).rows(count, size)]):
                distributed.recv(theirs, rank)
        return whole

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one message for each dtype."""
        if self.count == 1:
            return
        buckets: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            buckets.setdefault(tensor.dtype, []).append(tensor)
        for bucket in buckets.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            distributed.all_reduce(flat)
            for tensor, summed in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(summed.view_as(tensor))


ALONE = Workers()


def clip_norm(gradients: list[Tensor], most: float) -> Tensor:
    """Scale gradients in place to a norm of ``most`` if theirs is larger; return the norm that they had.

    Ends with the bits of ``nn.utils.clip_grad_norm_``, which first sorts them by device and type.
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # noqa: SLF001 - no public form
    torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def only_trainable(weights: Iterable[nn.Parameter], parameters: Iterable[nn.Parameter]) -> None:
    """Let gradients flow to these parameters of a model and to none of its other weights."""
    for weight in weights:
        weight.requires_grad = False
    for parameter in parameters:
        parameter.requires_grad = True
