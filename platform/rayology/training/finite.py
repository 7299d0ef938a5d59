"""Whether training is still finite: noticed on the device at each step, read by the host now and then."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rayology.errors import Diverged

__all__ = ["FiniteGuard"]


class FiniteGuard:
    """Remember on the device the first figure that is not finite; from then on nothing moves.

    ``found`` goes to Adam as ``found_inf``, which then leaves weights and moments as they are. No step waits for it:
    the host reads it together with figures that it wants anyway. (Adaptive augmentation does wait: the host draws what
    it does, and needs its strength.)
    """

    def __init__(self, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)
        """1 once anything was not finite, else 0."""
        self._first = torch.zeros(3, dtype=torch.float64, device=device)  # step, place in the names, value
        self._names: list[str] = []

    def watch(self, figures: Mapping[str, Tensor], *, step: int) -> None:
        """Look at the figures of a phase; they are the same in every process."""
        start = self._place_of(list(figures))
        values = torch.stack([figure.double() for figure in figures.values()])
        is_bad = ~values.isfinite()
        place = is_bad.to(torch.uint8).argmax(keepdim=True)
        now = torch.cat([torch.full_like(values[:1], step), place + start, values.gather(0, place)])
        self._first = torch.where((self.found == 0) & is_bad.any(), now, self._first)
        self.found = torch.maximum(self.found, is_bad.any().to(self.found))

    @torch.no_grad()
    def undo(self, tensors: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        """Restore the values that tensors had before a step, if that step or an earlier one was not finite."""
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(torch.where(self.found > 0, old, tensor))

    def read(self, figures: Mapping[str, Tensor]) -> dict[str, float]:
        """Return figures as numbers, in one copy from the device.

        Raises:
            Diverged: a figure was not finite, at this step or an earlier one; the first is named.
        """
        stacked = [figure.double() for figure in figures.values()]
        found, step, place, value, *values = torch.stack([self.found.double(), *self._first, *stacked]).tolist()
        if found:
            raise Diverged(f"{self._names[int(place)]} is {value} at step {step:.0f}; lower optimizer.lr")
        assert all(map(math.isfinite, values)), "every figure was watched"  # noqa: S101
        return dict(zip(figures, values, strict=True))

    def _place_of(self, names: Sequence[str]) -> int:
        """Return where the names of a phase stand among those of all."""
        if names[0] not in self._names:
            self._names += names
        return self._names.index(names[0])
