"""Adam in one kernel, without what torch's step does around it."""

import torch
from torch import Tensor, optim

__all__ = ["Adam"]

STATE = ("step", "exp_avg", "exp_avg_sq")  # of a weight, as torch names it


class Adam(optim.Adam):
    """Adam (Kingma & Ba 2015) whose weights, moments and state are torch's, bit for bit."""

    def move(self, *, lr: float, betas: tuple[float, float], held: Tensor) -> None:
        """Take a step and drop the gradients; move nothing if ``held``, a float32 on the device, is 1.

        For a small model ``step(fused=True)`` takes several times as long: it looks for hooks, tells the profiler, and
        sorts weights by device and type, of which a model here has one.
        """
        for group in self.param_groups:
            group["lr"], group["betas"] = lr, betas
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    zeros = (
                        weight.new_zeros((), dtype=torch.float32),
                        torch.zeros_like(weight),
                        torch.zeros_like(weight),
                    )
                    self.state[weight] = dict(zip(STATE, zeros, strict=True))
            steps, means, squares = ([self.state[weight][name] for weight in weights] for name in STATE)
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                [weight.detach() for weight in weights],
                [weight.grad for weight in weights],
                means,
                squares,
                [],
                steps,
                lr=lr,
                beta1=betas[0],
                beta2=betas[1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                found_inf=held,
            )
            torch._foreach_sub_(steps, [held] * len(steps))
            for weight in weights:
                weight.grad = None
