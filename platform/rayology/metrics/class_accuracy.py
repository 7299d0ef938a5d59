"""Whether the class that was asked for can be seen: a small classifier, trained on real images alone, is asked."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from rayology.image import VALUES_AT_ONCE, num_at_once
from rayology.metrics.metric import Metric
from rayology.primitives import PRIMITIVES

__all__ = ["CLASS_ACCURACY", "ReferenceClassifier"]

# It names 93 to 98 % of unseen phantom slices of 64x64 right; 1,000 steps of width 16 name 98 to 99 % and take nine
# times as long.
STEPS, BATCH_SIZE, WIDTH, LR = 400, 32, 8, 5e-3
COPIES = 8  # of a batch that is trained on: what the backward pass keeps
SHIFT = 4  # pixels by which training images are moved at random, so that a place is not learned for a class

CLASS_ACCURACY = Metric(
    name="class_accuracy",
    group="classes of samples",
    direction="max",
    unit="share",
    meaning="the share of samples in which a small classifier of real images sees the class that was asked for",
    blind_to="samples that are all alike within a class",
)


class ReferenceClassifier:
    """A convolutional classifier fitted to real images in [-1, 1]; the same images give the same classifier."""

    def __init__(
        self,
        images: Float[Tensor, "batch channel *space"],
        labels: Int[Tensor, " batch"],
        *,
        num_classes: int,
        values_at_once: int = VALUES_AT_ONCE,
    ) -> None:
        self._values_at_once = values_at_once
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the accelerators for good
            self._network = _network(images.shape[1], num_classes, axes=images.ndim - 2).to(images.device)
        layout = PRIMITIVES[images.ndim - 2].channels_last  # a third faster on a CPU
        generator, space = torch.Generator().manual_seed(0), tuple(range(2, images.ndim))
        optimizer = torch.optim.AdamW(self._network.parameters(), lr=LR, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(len(images), (BATCH_SIZE,), generator=generator)
            shifts = torch.randint(-SHIFT, SHIFT + 1, (len(space),), generator=generator).tolist()
            optimizer.zero_grad()
            for part in chosen.split(num_at_once(values_at_once, images.shape[1:], copies=COPIES)):
                scores = self._network(images[part].roll(shifts, dims=space).contiguous(memory_format=layout))
                (functional.cross_entropy(scores, labels[part], reduction="sum") / BATCH_SIZE).backward()
            optimizer.step()
            schedule.step()
        self._network.eval()

    @torch.inference_mode()
    def classes(self, images: Float[Tensor, "batch channel *space"]) -> Int[Tensor, " batch"]:
        """Return the class that the classifier sees in each image."""
        parts = images.split(num_at_once(self._values_at_once, images.shape[1:]))
        return torch.cat([self._network(part).argmax(dim=1) for part in parts])

    def accuracy(self, images: Float[Tensor, "batch channel *space"], labels: Int[Tensor, " batch"]) -> float:
        """Return the share of the images that are classified as their label."""
        return float((self.classes(images) == labels).float().mean())


def _network(channels: int, num_classes: int, *, axes: int) -> nn.Sequential:
    convolution, max_pool = PRIMITIVES[axes].convolution, PRIMITIVES[axes].max_pool
    layers: list[nn.Module] = [convolution(channels, WIDTH, 5, stride=2, padding=2), nn.ReLU()]
    for width in (WIDTH, 2 * WIDTH, 4 * WIDTH):
        layers += [convolution(width, 2 * width, 3, padding=1), nn.ReLU(), max_pool(2)]
    layers += [PRIMITIVES[axes].adaptive_max_pool(1), nn.Flatten(), nn.Linear(8 * WIDTH, num_classes)]
    return nn.Sequential(*layers)
