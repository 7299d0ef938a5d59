"""How much memory a step takes, as a few small ones tell before the first, and how batches are cut so that it fits."""

import json
import math
import re
import socket
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rayology.atomic import write_atomic
from rayology.errors import OutOfMemory, TrainingError
from rayology.experiment import Experiment
from rayology.image import Batch, ImageSpec
from rayology.models import Segments
from rayology.training.gradients import Workers
from rayology.training.loop import Training, fit

__all__ = ["Footprint", "cut_again", "cut_to_fit", "footprint", "free_memory", "stored_microbatches"]

FILE = "microbatches.json"  # in the folder of a run whose batches were cut: other pieces are summed in another order
RAYS_SHARE = 0.95  # of a machine's memory: above it Ray ends a worker
OVERHEAD = 1.35  # of a process over its tensors: work space of convolutions, and gaps between blocks (memory.py)
CGROUPS = (  # limit, use, and what of the use is only cached (cgroups(7), version 2 and 1)
    ("memory.max", "memory.current", "memory.stat", r"^inactive_file (\d+)$"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        r"^total_inactive_file (\d+)$",
    ),
)


@dataclass(frozen=True)
class Footprint:
    """Bytes that a training takes on its device."""

    fixed: float
    """Weights, their average, gradients and the optimizer's moments."""
    row: float
    """An image of a microbatch, with its activations."""
    waiting: float
    """An image of a step's other microbatches, which wait for their turn."""

    def peak(self, experiment: Experiment) -> float:
        """Return the most that one worker takes in a step."""
        return self.fixed + experiment.schedule.batch_size / experiment.microbatches * self._row(experiment)

    def batch_size(self, experiment: Experiment, free: float) -> int:
        """Return the largest batch that fits into so many bytes, cut into as many microbatches; 0 if none does."""
        rows = max(0, int((free - self.fixed) / self._row(experiment)))
        return rows // experiment.model.pack * experiment.model.pack * experiment.microbatches

    def _row(self, experiment: Experiment) -> float:
        """Return what an image more in each microbatch takes."""
        own = math.ceil(experiment.microbatches / experiment.scaling.least_workers)
        return self.row + (own - 1) * self.waiting


def cut_to_fit(
    experiment: Experiment, image: ImageSpec, device: torch.device, folder: Path, workers: Workers, *, begins: bool
) -> Experiment:
    """Return the experiment with the microbatches that its run has or, if it begins, with which a step fits the device.

    Raises:
        OutOfMemory: a step does not fit, and may not or cannot be cut; in all processes alike.
    """
    if stored := workers.agreed(stored_microbatches(folder) if workers.leads else 0):
        experiment = _with(experiment, stored)
    if not begins:
        return experiment
    try:
        taken = footprint(experiment, image, device)
    except torch.OutOfMemoryError:
        raise OutOfMemory("the model alone takes more memory than there is; choose a smaller one") from None
    free = _share(workers.gathered(_place(device, workers)))
    cuts = _cuts(experiment) if experiment.scaling.out_of_memory == "split" else iter([experiment])
    fitting = next((each for each in cuts if taken.peak(each) <= free), None)
    if fitting is None:
        raise OutOfMemory(_advice(experiment, taken, free), in_all=True)
    if fitting.microbatches != experiment.microbatches and workers.leads:
        _store(fitting, folder)
    return fitting


def stored_microbatches(folder: Path) -> int:
    """Return the number that a run was cut into; 0 if it was not."""
    file = folder / FILE
    return int(json.loads(file.read_bytes())) if file.exists() else 0


def cut_again(experiment: Experiment, folder: Path) -> TrainingError:
    """Return the error of a step that ran out of memory; if it may be cut, who starts the run again finds it cut."""
    cut = next((each for each in _cuts(experiment) if each.microbatches > experiment.microbatches), None)
    said = f"a step of {_batch(experiment)} ran out of memory"
    if experiment.scaling.out_of_memory == "split" and cut is not None:
        _store(cut, folder)
        return TrainingError(f"{said}; it goes on with {cut.microbatches} microbatches")
    more = f", or scaling.microbatches {cut.microbatches}" if cut else ""
    return OutOfMemory(f"{said}; lower schedule.batch_size, such as to {experiment.schedule.batch_size // 2}{more}")


def footprint(experiment: Experiment, image: ImageSpec, device: torch.device) -> Footprint:
    """Measure steps of one, two and four packs on a model of their own, none larger than a microbatch of the training.

    The first step makes the optimizer's moments. If a microbatch is one pack, all that it takes counts as its rows'.
    """
    pack = experiment.model.pack
    most_packs = experiment.schedule.batch_size // experiment.microbatches // pack
    few, many = (min(packs, most_packs) for packs in (2, 4))
    with _watching(device) as most:
        training = Training.start(experiment, image, device)
        _, less, more = (most(partial(_step, experiment, training, packs * pack)) for packs in (1, few, many))
    row = (more - less) / ((many - few) * pack) if many > few else more / (many * pack)
    overhead = 1.0 if device.type == "cuda" else OVERHEAD
    values = math.prod(image.shape) * next(training.model.parameters()).element_size()
    return Footprint(max(0.0, more - many * pack * row), row * overhead, float(values))


def free_memory(device: torch.device, *, root: Path = Path("/")) -> float:
    """Return the bytes that this process may still take on a device; on a CPU before Ray ends a worker."""
    if device.type == "cuda":  # pragma: no cover - needs one
        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    memory = re.findall(r"^(MemTotal|MemAvailable): +(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    total, available = (1024 * int(dict(memory)[name]) for name in ("MemTotal", "MemAvailable"))
    limits = [(total, total - available), *_cgroup_limits(root / "sys/fs/cgroup")]
    return min(RAYS_SHARE * limit - used for limit, used in limits)


def _cgroup_limits(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the bytes that a container may take, and those that it takes."""
    for limit, current, stat, cached in CGROUPS:
        if (folder / limit).exists() and (most := (folder / limit).read_text().strip()) != "max":
            inactive = re.findall(cached, (folder / stat).read_text(), re.MULTILINE)
            yield int(most), int((folder / current).read_text()) - sum(map(int, inactive))


def _place(device: torch.device, workers: Workers) -> tuple[str, float]:
    """Return what names the memory of this process, which processors of a machine share, and how much is free."""
    return f"{socket.gethostname()} {workers.rank if device.type == 'cuda' else ''}", free_memory(device)


def _share(places: list[tuple[str, float]]) -> float:
    """Return the bytes that each of the processes may take.

    >>> _share([("a", 60.0), ("b", 100.0), ("b", 90.0)])
    45.0
    """
    free = defaultdict[str, list[float]](list)
    for name, each in places:
        free[name].append(each)
    return min(min(each) / len(each) for each in free.values())


def _cuts(experiment: Experiment) -> Iterator[Experiment]:
    """Yield the experiment, then with twice the microbatches again and again, as far as they divide its batch."""
    pieces = experiment.microbatches
    while experiment.schedule.batch_size % (pieces * experiment.model.pack) == 0:
        yield _with(experiment, pieces)
        pieces *= 2


def _with(experiment: Experiment, microbatches: int) -> Experiment:
    return _changed(experiment, scaling={"microbatches": microbatches})


def _changed(experiment: Experiment, **groups: Mapping[str, object]) -> Experiment:
    """Return a copy with other values, which are known to be right."""
    changed = {name: getattr(experiment, name).model_copy(update=dict(values)) for name, values in groups.items()}
    return experiment.model_copy(update=changed)


def _store(experiment: Experiment, folder: Path) -> None:
    write_atomic(folder / FILE, json.dumps(experiment.microbatches).encode(), mode=0o666)


def _advice(experiment: Experiment, taken: Footprint, free: float) -> str:
    """Say what a step takes, what there is, and what would fit."""
    cut = next((each.microbatches for each in _cuts(experiment) if taken.peak(each) <= free), 0)
    batch_size = taken.batch_size(experiment, free)
    ways = [f"schedule.batch_size {batch_size}"] * bool(batch_size) + [f"scaling.microbatches {cut}"] * bool(cut)
    return (
        f"a step of {_batch(experiment)} takes {taken.peak(experiment) / 2**30:,.2f} GiB of memory, and a worker has "
        f"{free / 2**30:,.2f}; write {', or '.join(ways) or 'a smaller model, or prepare smaller images'}"
    )


def _batch(experiment: Experiment) -> str:
    return f"schedule.batch_size {experiment.schedule.batch_size} and scaling.microbatches {experiment.microbatches}"


def _step(experiment: Experiment, training: Training, count: int) -> None:
    """Take a step on noise; it is so small that nothing can diverge."""
    small = _changed(
        experiment,
        schedule={"steps": 1, "batch_size": count},
        scaling={"num_workers": 1, "microbatches": 1},
        optimizer={"lr": 1e-30},
    )
    training.step = 0  # at which every phase takes part
    weight, image = next(training.model.parameters()), training.model.image
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, *image.shape, generator=generator).to(weight) * 2 - 1
    zeros = torch.zeros(count, *image.size, dtype=torch.uint8, device=weight.device)
    masks = zeros if isinstance(training.model, Segments) else None
    batch = Batch(noise, torch.zeros(count, dtype=torch.int64, device=weight.device), masks)

    def ignore(*_: object) -> None:
        """Take what is reported and drop it."""

    fit(small, training, lambda *_: batch, log=ignore, evaluate=ignore, checkpoint=ignore)


@contextmanager
def _watching(device: torch.device) -> Iterator[Callable[[Callable[[], None]], float]]:
    """Yield what does some work and returns the most bytes that tensors made in the block held meanwhile."""
    if device.type == "cuda":  # pragma: no cover - needs one
        before = torch.cuda.memory_allocated(device)

        def peak(work: Callable[[], None]) -> float:
            torch.cuda.reset_peak_memory_stats(device)
            work()
            return float(torch.cuda.max_memory_allocated(device) - before)

        yield peak
        return
    with _Live() as live:

        def live_peak(work: Callable[[], None]) -> float:
            live.peak = live.now
            work()
            return float(live.peak)

        yield live_peak


class _Live(TorchDispatchMode):
    """Adds up the bytes of storages that were made while it is on and that some tensor still uses."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Do what was asked for, and look at what came of it."""
        del types
        outcome = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(outcome):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return outcome

    def _see(self, storage: UntypedStorage) -> None:
        if id(storage) not in self._known:
            self._known.add(id(storage))
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, id(storage), storage.nbytes()).atexit = False

    def _gone(self, name: int, num_bytes: int) -> None:
        self._known.remove(name)
        self.now -= num_bytes
