"""In which number format the networks run."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from rayology.experiment import ScalingConfig

__all__ = ["Precision", "autocast", "dtype_of", "forbid_tf32", "resolve"]

Precision = Literal["bf16", "float32", "float64"]


def resolve(scaling: ScalingConfig, device: torch.device) -> Precision:
    """Return the precision to train with; auto is bf16 if the processor multiplies it in hardware.

    The choice follows from the processor alone, so that the same machine always computes the same.
    """
    if scaling.precision != "auto":
        return scaling.precision
    return "bf16" if _multiplies_bf16(device) else "float32"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for a forward pass; models take their losses and penalties out of it."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def forbid_tf32() -> None:
    """Let float32 mean float32 on a GPU too: the gradient penalties rest on it, the rest runs in bf16."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the format of weights and images."""
    return torch.float64 if precision == "float64" else torch.float32


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Measured with jobs/benchmarks/precision.py; without these instructions bf16 is emulated and slower.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001 - no public form
