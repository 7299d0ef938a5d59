"""Whether training is still finite: noticed on the device at each step, read by the host now and then."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rayology.errors import Diverged

__all__ = ["FiniteGuard"]

KEPT = 1000  # figures of so many phases; after them the host looks once, so that memory stays bounded


class FiniteGuard:
    """Notice on the device that a figure is not finite; from then on nothing moves.

    ``found`` goes to Adam, which then leaves weights and moments as they are. No step waits for it:
    the host reads it together with figures that it wants anyway, and only then looks for the first that was not finite.
    (Adaptive augmentation does wait: the host draws what it does, and needs its strength.)
    """

    def __init__(self, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)
        """1 once anything was not finite, else 0."""
        self._zero = torch.zeros((), dtype=torch.float64, device=device)  # NaN once anything was not finite
        self._unread: list[tuple[int, Sequence[str], Tensor]] = []

    def watch(self, figures: Mapping[str, Tensor], *, step: int) -> None:
        """Look at the figures of a phase; they are the same in every process."""
        if len(self._unread) == KEPT and not self.found:
            self._unread.clear()
        values = torch.stack([*figures.values()])
        self._unread.append((step, [*figures], values))
        # One figure that is not finite makes such a sum, and its product with 0 is NaN.
        self._zero.add_(values.sum(dtype=torch.float64), alpha=0)
        torch.ne(self._zero, 0, out=self.found)

    def undo(self, tensors: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        """Restore the values that tensors had before a step, if that step or an earlier one was not finite."""
        if not tensors:
            return
        found = self.found > 0
        for tensor, old in zip(tensors, before, strict=True):
            torch.where(found, old, tensor, out=tensor)

    def read(self, figures: Mapping[str, Tensor]) -> dict[str, float]:
        """Return figures as numbers, in one copy from the device.

        Raises:
            Diverged: a figure was not finite, at this step or an earlier one; the first is named.
        """
        stacked = [figure.double() for figure in figures.values()]
        found, *values = torch.stack([self.found.double(), *stacked]).tolist()
        if found:
            raise Diverged(f"{self._first()}; lower optimizer.lr")
        self._unread.clear()
        return dict(zip(figures, values, strict=True))

    def _first(self) -> str:
        """Say which figure was the first that is not finite, and when."""
        numbers = (
            (name, value, step)
            for step, names, values in self._unread
            for name, value in zip(names, values.tolist(), strict=True)
        )
        name, value, step = next(each for each in numbers if not math.isfinite(each[1]))
        return f"{name} is {value} at step {step}"
