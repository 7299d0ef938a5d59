"""Random inputs by name: for a whole global batch in training, and for one sample by its seed and index."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = [
    "Noise",
    "NoiseSpec",
    "batch_noise",
    "derive_seed",
    "indexed_labels",
    "indexed_noise",
    "placed",
    "rows_of",
]

Noise = Mapping[str, Tensor]
"""Each stream by its name, as (batch, *shape): normal ones in float32, uniform ones in float64, both on the CPU."""


@dataclass(frozen=True)
class NoiseSpec:
    """Shape and distribution of a named stream of random numbers, for one sample."""

    shape: tuple[int, ...] = ()
    distribution: Literal["normal", "uniform"] = "normal"


def batch_noise(specs: Mapping[str, NoiseSpec], *, seed: int, purpose: str, step: int, count: int) -> Noise:
    """Draw for all samples of a global batch, whichever rows this process has; adding a stream changes no other."""
    return {name: _drawn(spec, count, derive_seed(seed, purpose, step, name)) for name, spec in specs.items()}


def indexed_noise(specs: Mapping[str, NoiseSpec], *, seed: int, indices: Sequence[int]) -> Noise:
    """Draw for samples by their indices: a sample's noise depends on seed, stream and index alone.

    Every sample that anybody sees is drawn this way: in evaluations, on sheets and by servers. Adding a stream changes
    no other.
    """
    return {name: _indexed(spec, seed, name, indices) for name, spec in specs.items()}


def indexed_labels(num_classes: int, *, seed: int, indices: Sequence[int]) -> Int[Tensor, " batch"]:
    """Draw the class of each sample for which none was asked; 0 for a model without classes."""
    drawn = _indexed(NoiseSpec((), "uniform"), seed, "class", indices)
    return (drawn * num_classes).long()


def rows_of(noise: Noise, rows: slice) -> Noise:
    """Return the noise of some rows of a batch."""
    return {name: drawn[rows] for name, drawn in noise.items()}


def placed(noise: Noise, like: Tensor) -> Noise:
    """Move normal noise to a tensor's device and dtype; uniform noise stays on the CPU, which reads it."""
    return {name: drawn.to(like) if drawn.dtype == torch.float32 else drawn for name, drawn in noise.items()}


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose, so that no draw depends on what was drawn before it."""
    digest = hashlib.sha256("/".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _drawn(spec: NoiseSpec, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    match spec.distribution:
        case "normal":
            return torch.randn(count, *spec.shape, generator=generator)
        case "uniform":
            return torch.rand(count, *spec.shape, generator=generator, dtype=torch.float64)


def _indexed(spec: NoiseSpec, seed: int, name: str, indices: Sequence[int]) -> Tensor:
    key = derive_seed(seed, "sample", name) % 2**64
    drawn = np.empty((len(indices), *spec.shape), np.float32 if spec.distribution == "normal" else np.float64)
    for row, index in enumerate(indices):
        generator = _philox.at(key, index)
        match spec.distribution:
            case "normal":
                drawn[row] = generator.standard_normal(spec.shape, np.float32)
            case "uniform":
                drawn[row] = generator.random(spec.shape)
    return torch.from_numpy(drawn)


class _Philox(threading.local):
    """A generator for each thread: to make one asks the system for entropy, which takes longer than to draw."""

    def __init__(self) -> None:
        philox = np.random.Philox(0)
        self._bits, self._state, self._generator = philox, philox.state, np.random.Generator(philox)

    def at(self, key: int, index: int) -> np.random.Generator:
        """Return it at the beginning of a stream."""
        self._state["state"]["key"][:] = key, index
        self._bits.state = self._state
        return self._generator


_philox = _Philox()
