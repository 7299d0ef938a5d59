"""Checkpoints of a training: all that it takes to resume it, bit for bit on a CPU.

Randomness is keyed by seed and step and batches follow from them, so no generator and no position is kept. A checkpoint
is one file that appears whole. Its name holds the SHA-256 of its content: what reads tensors takes a flipped bit for
another weight.
"""

import hashlib
import json
import logging
import math
import re
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor
from torch.optim import Optimizer

from rayology.atomic import UNFINISHED, write_atomic
from rayology.errors import TrainingError
from rayology.training.loop import Training

__all__ = ["Checkpoints", "newest", "newest_step", "remove_newer", "restore"]

logger = logging.getLogger(__name__)

NAME = re.compile(r"step-\d{9,}-[0-9a-f]{64}\.safetensors")
NOTES = "training"
DAMAGED = ".damaged"
NUM_NEWEST = 2
"""How many of the newest are kept: if the last is damaged, there is the one before."""


class Checkpoints:
    """Write checkpoints of a run in the background: training waits only while its state is copied.

    The newest, the best, and those of every ``keep_every`` steps are kept. One that cannot be written costs a warning;
    one that waits for a slow storage gives way to the next.
    """

    def __init__(self, folder: Path, *, dataset: str = "", keep_every: int | None = None) -> None:
        self._folder = folder
        self._dataset = dataset
        self._keep_every = keep_every
        self._writer = ThreadPoolExecutor(1)
        self._writing: deque[Future[None]] = deque()
        self._waiting: deque[tuple[bytes, int]] = deque(maxlen=1)
        for unfinished in folder.glob(f".*{UNFINISHED}"):  # a killed process left them
            unfinished.unlink()

    def __enter__(self) -> "Checkpoints":  # noqa: PYI034 - beartype takes no Self here
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.shutdown()
        if error is None:
            self._raise_mistakes()

    def save(self, training: Training, *, loss: float = math.inf) -> None:
        """Copy the state and start to write it; the least loss makes the best checkpoint."""
        notes = {"step": training.step, "loss": loss, "dataset": self._dataset, **_machine()}
        self._raise_mistakes()
        # In one entry, because several are written in an order of chance, and equal states have equal bytes.
        self._waiting.append((as_bytes(_flattened(training), {NOTES: json.dumps(notes)}), training.step))
        self._writing.append(self._writer.submit(self._write))

    def _raise_mistakes(self) -> None:
        """Raise what ended a write and was not the storage's fault."""
        while self._writing and self._writing[0].done():
            self._writing.popleft().result()

    def _write(self) -> None:
        if not self._waiting:  # it gave way to the one that was just written
            return
        content, step = self._waiting.pop()
        try:
            self._folder.mkdir(0o700, exist_ok=True)  # not its parents: where a storage was, another disk may be
            name = f"step-{step:09}-{hashlib.sha256(content).hexdigest()}.safetensors"
            write_atomic(self._folder / name, content)
        except OSError as error:
            logger.warning("Step %d: its checkpoint could not be written (%s); training goes on.", step, error.strerror)
            return
        try:
            self._prune()
        except OSError as error:
            logger.warning("Step %d: earlier checkpoints could not be removed (%s).", step, error.strerror or error)

    def _prune(self) -> None:
        files = _files(self._folder)
        best = min(reversed(files), key=_loss_of)
        for file in files[:-NUM_NEWEST]:
            if file != best and (self._keep_every is None or _step_of(file) % self._keep_every):
                file.unlink()


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder that is as it was written, and put aside those that are not."""
    files = _files(folder)
    for file in reversed(files):
        try:
            with file.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() in file.name:
                    return file
            file.rename(file.with_suffix(DAMAGED))  # so that it is not one of the newest any more
        except OSError as error:
            logger.warning("The checkpoint of step %d cannot be read (%s).", _step_of(file), error.strerror)
        else:
            logger.warning("The checkpoint of step %d is damaged, and put aside.", _step_of(file))
    if files:
        logger.warning("No checkpoint is left to go on from: the training starts again from its first step.")
    return None


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint of a folder; 0 if it has none."""
    return max(map(_step_of, _files(folder)), default=0)


def remove_newer(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps."""
    for file in _files(folder):
        if _step_of(file) > step:
            file.unlink(missing_ok=True)


def restore(training: Training, file: Path, *, dataset: str = "") -> None:
    """Bring a fresh training to the state in which another one was saved; warn if its bits may differ from here on.

    Raises:
        TrainingError: the file is not a checkpoint, or one of another model or dataset.
    """
    try:
        tensors, notes = load_file(file), _notes(file)
        step = notes["step"]
        for name in ("model", "average"):
            getattr(training, name).load_state_dict(_below(tensors, name))
    except OSError as error:
        raise TrainingError(f"{file}: cannot be read ({error}); see that every node sees the storage") from None
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{file}: no checkpoint of this experiment's model; start a new run ({error})") from None
    if notes.get("dataset") != dataset:
        raise TrainingError(
            f"{file}: was trained on another dataset; put the source's files back as they were, or start a new run"
        )
    for index, optimizer in enumerate(training.optimizers):
        _restore_optimizer(optimizer, _below(tensors, f"optimizer.{index}"))
    training.step = step
    changed = [f"{name} {notes.get(name)}, now {now}" for name, now in _machine().items() if notes.get(name) != now]
    if changed:
        logger.warning("Results may differ in their last bits from step %d on: %s.", step, "; ".join(changed))


def _machine() -> dict[str, str]:
    """Return what decides the order in which numbers are added up."""
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _files(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the oldest first."""
    return sorted((file for file in folder.glob("step-*") if NAME.fullmatch(file.name)), key=_step_of)


def _step_of(file: Path) -> int:
    return int(file.name.split("-")[1])


def _loss_of(file: Path) -> float:
    try:
        return float(_notes(file)["loss"])
    except (SafetensorError, KeyError, ValueError):  # a damaged one is not the best
        return math.inf


def _notes(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as opened:
        notes: dict[str, Any] = json.loads((opened.metadata() or {})[NOTES])
        return notes


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
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }
