"""The state of a training: weights, averages and optimizer states, enough to resume it, bit for bit on a CPU.

Randomness is keyed by seed and step and batches follow from them, so no generator and no position is kept.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from rayology.errors import TrainingError
from rayology.training.loop import Training

__all__ = ["restore", "save"]

TENSORS, POSITION = "training.safetensors", "training.json"


def save(training: Training, folder: Path) -> None:
    """Write a training into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in _flattened(training).items()}
    save_file(tensors, folder / TENSORS)
    (folder / POSITION).write_text(json.dumps({"step": training.step}), encoding="utf-8")


def restore(training: Training, folder: Path) -> None:
    """Bring a fresh training to the state in which another one was saved.

    Raises:
        TrainingError: the folder holds no checkpoint, or one of another model.
    """
    try:
        written = load_file(folder / TENSORS)
        # Runs begun earlier have the buffer's former name.
        tensors = {name.replace(".adaptive.told_apart", ".adaptive.signs"): written[name] for name in written}
        step = json.loads((folder / POSITION).read_text(encoding="utf-8"))["step"]
        for name in ("model", "average"):
            getattr(training, name).load_state_dict(_below(tensors, name))
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{folder}: no checkpoint of this experiment's model; start a new run ({error})") from None
    for index, optimizer in enumerate(training.optimizers):
        _restore_optimizer(optimizer, _below(tensors, f"optimizer.{index}"))
    training.step = step


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        place, _, name = path.partition(".")
        parameter = parameters[int(place)]
        # The fused step walks weights and moments in memory order: both must be laid out alike.
        laid_out = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
        states.setdefault(int(place), {})[name] = laid_out.detach()
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def _flattened(training: Training) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in training.model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in training.average.state_dict().items()}
    for index, optimizer in enumerate(training.optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{parameter}.{name}": tensor for name, tensor in state.items()}
    return tensors


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }
