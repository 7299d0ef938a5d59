"""Adam in one kernel, without what torch's step does around it."""

import torch
from torch import Tensor, optim

__all__ = ["Adam"]


class Adam(optim.Adam):
    """Adam (Kingma & Ba 2015) whose weights, moments and state are torch's, bit for bit."""

    def move(self, *, lr: float, held: Tensor) -> None:
        """Take a step and drop the gradients; move nothing if ``held``, a float32 on the device, is 1.

        For a small model ``step(fused=True)`` takes several times as long: it looks for hooks, tells the profiler, and
        sorts weights by device and type, of which a model here has one.
        """
        for group in self.param_groups:
            group["lr"] = lr
            weights: list[Tensor] = []
            gradients: list[Tensor] = []
            means: list[Tensor] = []
            squares: list[Tensor] = []
            steps: list[Tensor] = []
            self._init_group(group, weights, gradients, means, squares, [], steps)  # type: ignore[no-untyped-call] # torch's own
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                [weight.detach() for weight in weights],
                gradients,
                means,
                squares,
                [],
                steps,
                lr=lr,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                found_inf=held,
            )
            torch._foreach_sub_(steps, [held] * len(steps))
            for weight in weights:
                weight.grad = None
