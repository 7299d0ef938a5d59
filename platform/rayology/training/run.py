"""A run on disk: how it is begun, found again, prolonged, and kept to one process at a time."""

import fcntl
import json
import logging
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypedDict

import torch

from rayology.atomic import write_atomic
from rayology.bundle import Bundle, inference_weights
from rayology.config import differing, nested, validated
from rayology.errors import BundleError, ConfigError, StoreError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import ModelConfig
from rayology.store import CHAMPION, Store
from rayology.usage import value_text

__all__ = [
    "BUNDLE",
    "DIVERGED",
    "EXPERIMENT",
    "INIT",
    "SUMMARY",
    "Assignment",
    "Run",
    "begun",
    "in_sole_use",
    "is_in_use",
    "open_run",
    "require_images",
]

logger = logging.getLogger(__name__)

EXPERIMENT, BUNDLE, INIT, LOCK = "experiment.json", "bundle", "init", "lock"
SUMMARY = "sweep.txt"  # of a sweep that ended
DIVERGED = "diverged.txt"  # of a run that would only diverge again
SET_BY = {"size": "preparation.size", "values": "preparation.window", "channels": "channels", "classes": "classes"}
START_ANEW = "start it anew, with its YAML file and flags; its bundle, if it has one, stays readable"
BUDGET = ("num_trials", "hours", "worker_hours", "target", "terminate", "finish")  # of a sweep: may change later
FORMAT_VERSION = 5  # of experiment.json; an earlier one is refused


class Assignment(TypedDict):
    """What a driver tells the process that trains, in plain values."""

    experiment: dict[str, object]
    dataset: str
    folder: str
    reports: bool
    """Whether Ray Tune waits for its evaluations."""


@dataclass(frozen=True)
class Run:
    """A training or a sweep on disk: ``<storage>/<runs or sweeps>/<name>``."""

    folder: Path
    experiment: Experiment
    is_resumed: bool = False

    def finished(self) -> Bundle | None:
        """Return the bundle if it is of the last step: one that is trained longer has an older one until then."""
        if not (self.folder / BUNDLE).exists():
            return None
        bundle = Bundle.load(self.folder / BUNDLE)
        return bundle if bundle.manifest.provenance.steps >= self.experiment.schedule.steps else None


def open_run(experiment: Experiment, kind: Literal["runs", "sweeps"]) -> Run:
    """Start a run under a new name, or find the one to resume.

    It keeps the experiment that it began with, of which a run may take more steps from then on, and a sweep another
    budget.

    To resume 'auto' starts one unless a run of this very experiment has not ended: a job may be submitted again as is.

    Raises:
        ConfigError: there is no run of that name, more than its steps would change, or a bundle to start from is not
            there or of another model.
    """
    parent = experiment.storage.expanduser().absolute() / kind
    begun_at = {file.parent.name: file.stat().st_mtime_ns for file in parent.glob(f"*/{EXPERIMENT}")}
    known = sorted(begun_at, key=lambda name: begun_at[name])
    wanted = experiment.resume
    if wanted == "auto":
        wanted = next((name for name in reversed(known) if _is_unfinished(parent / name, experiment)), "")
    elif wanted == "last" and known:
        wanted = known[-1]
    return _resumed(parent, wanted, known, experiment, kind) if wanted else _started(parent, experiment, kind)


def _started(parent: Path, experiment: Experiment, kind: str) -> Run:
    """Start a run in a folder of its own."""
    if experiment.init and kind == "sweeps":
        raise ConfigError("init: a sweep searches architectures, which no one bundle's weights fit; leave init out")
    sources = {role: _source_of(role, place, experiment) for role, place in experiment.init.items()}
    if "model" in sources:
        require_model(experiment, sources["model"])
    folder = parent / f"{experiment.name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    folder.mkdir(parents=True)
    experiment = experiment.patched({"resume": ""})
    for role, bundle in sources.items():
        shutil.copytree(bundle.path, folder / INIT / role)  # from here on the run does not depend on them
    _store(experiment, folder)
    return Run(folder, experiment)


def _resumed(parent: Path, wanted: str, known: Sequence[str], experiment: Experiment, kind: str) -> Run:
    """Find a run again, and keep what is asked of it from now on once nothing is wrong with that."""
    if wanted not in known:
        found = f"holds no {wanted!r}" if parent.is_dir() else "is not there"
        newest = f"the newest there are: {', '.join(known[-3:])}" if known else "give the storage that it began with"
        raise ConfigError(f"resume: {parent} {found}; {newest}, or leave resume out to start one")
    _require_sound(parent / wanted)
    before = begun(parent / wanted)
    first = _with_budget(before, experiment) if kind == "sweeps" else before
    if changes := _changes(first, experiment, kind):
        raise ConfigError(
            f"resume: {wanted} goes on with the experiment that it began with; leave out {', '.join(changes)}"
        )
    steps = experiment.schedule.steps if "steps" in experiment.schedule.model_fields_set else first.schedule.steps
    if steps != first.schedule.steps:
        _require_longer(wanted, kind, before=first.schedule.steps, steps=steps)
        first = first.patched({"schedule": {"steps": steps}})
        logger.info("%s takes %d steps from now on.", wanted, steps)
    if first != before:
        with in_sole_use(parent / wanted):
            _store(first.patched({"search": {"finish": False}}), parent / wanted)  # to finish is for once
    return Run(parent / wanted, first.patched({"storage": str(experiment.storage)}), is_resumed=True)


def _require_sound(folder: Path) -> None:
    """Refuse a run that would only diverge again."""
    if (mark := folder / DIVERGED).exists():
        raise ConfigError(f"resume: {folder.name} diverged ({mark.read_text(encoding='utf-8')}); start a new run")


def _is_unfinished(folder: Path, experiment: Experiment) -> bool:
    """Tell whether a run began with an experiment, under its name, and has not ended."""
    try:
        first = begun(folder)
        is_marked = any((folder / mark).exists() for mark in (SUMMARY, DIVERGED))
        has_ended = is_marked or Run(folder, first).finished() is not None
    except (BundleError, ConfigError):  # it cannot go on
        return False
    return not has_ended and not differing(first, experiment).keys() - {"resume", "storage"}


@contextmanager
def in_sole_use(folder: Path) -> Iterator[None]:
    """Let nobody else train, prolong or remove a run while the block runs.

    Raises:
        ConfigError: another process does.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder.name} is being trained; wait until it has ended, or end it with Ctrl-C or ray job stop"
            ) from None
        yield


def is_in_use(folder: Path) -> bool:
    """Tell whether a process trains, prolongs or removes a run."""
    with suppress(FileNotFoundError), (folder / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _store(experiment: Experiment, folder: Path) -> None:
    """Write what a run goes on with, for its owner alone: the source's path may name a patient."""
    written = {"format_version": FORMAT_VERSION, "experiment": experiment.model_dump(mode="json")}
    write_atomic(folder / EXPERIMENT, json.dumps(written, indent=2).encode())


def _changes(first: Experiment, asked: Experiment, kind: str) -> list[str]:
    """Return the fields that would change a run: those that are asked for, by another value than the default's."""
    free = {"name", "resume", "storage", "schedule.steps"} | {f"search.{field}" for field in BUDGET if kind == "sweeps"}
    of_run, of_default = (differing(asked, other).keys() - free for other in (first, Experiment()))
    return sorted(of_run & of_default)


def _with_budget(first: Experiment, asked: Experiment) -> Experiment:
    """Return a sweep's experiment with what was asked for of its budget."""
    named = asked.search.model_fields_set
    return first.patched({"search": {field: getattr(asked.search, field) for field in BUDGET if field in named}})


def _require_longer(name: str, kind: str, *, before: int, steps: int) -> None:
    """Refuse to shorten a training, or to change how long the trials of a sweep are, which would compare no more."""
    if kind == "sweeps":
        raise ConfigError(
            f"resume: the trials of {name} take {before} steps, by which they are compared; leave out schedule.steps, "
            "or start a sweep of longer ones"
        )
    if steps < before:
        raise ConfigError(
            f"resume: {name} is to take {before} steps already; give schedule.steps more than that, or leave it out"
        )


def _source_of(role: str, place: str, experiment: Experiment) -> Bundle:
    """Find the bundle that a role starts from, in a folder or in the store."""
    if Path(place).expanduser().is_dir():
        return Bundle.load(Path(place).expanduser())
    name, _, version = place.partition("/")
    store = Store(str(experiment.storage.expanduser() / "store"))
    try:
        return Bundle.load(store.fetch(name, store.pin(name, version or CHAMPION)))
    except StoreError as error:
        raise ConfigError(f"init.{role}: {place} is neither a folder nor a model of the store ({error})") from None


def require_model(experiment: Experiment, bundle: Bundle) -> None:
    """Refuse a bundle of another architecture; ConfigError names each field that decides over a shape of weights."""
    manifest = bundle.manifest
    kept = _shapes(manifest.model, manifest.image)
    if _shapes(experiment.model, manifest.image) == kept:
        return
    fields: dict[str, tuple[object, object]] = {}
    for path, (theirs, own) in differing(manifest.model, experiment.model).items():
        with suppress(ConfigError):  # the bundle's model has no such field, or value
            if _shapes(manifest.patched(nested({f"model.{path}": own})).model, manifest.image) != kept:
                fields[f"model.{path}"] = (theirs, own)
    flags = [(f"--{path.replace('_', '-')}", value_text(theirs)) for path, (theirs, _) in fields.items()]
    raise _refusal("model", fields, f"write {' '.join(map(shlex.join, flags))}")


def require_images(bundle: Bundle, image: ImageSpec) -> None:
    """Refuse a bundle of images of another shape, range or other classes; ConfigError names what differs."""
    found = {tuple(path.split(".")): pair for path, pair in differing(bundle.manifest.image, image).items()}
    if fields := {".".join((SET_BY[part], *rest)): found[part, *rest] for part, *rest in found if part in SET_BY}:
        raise _refusal("dataset", fields, "prepare such images")


def _shapes(model: ModelConfig, image: ImageSpec) -> dict[str, torch.Size]:
    """Return the shapes of the weights that a bundle keeps of a model, without their memory."""
    with torch.device("meta"):
        return {name: weight.shape for name, weight in inference_weights(model.build(image)).items()}


def _refusal(other: str, fields: Mapping[str, tuple[object, object]], advice: str) -> ConfigError:
    texts = (
        f"{path} is {value_text(theirs)} in the bundle, {value_text(own)} in the {other}"
        for path, (theirs, own) in fields.items()
    )
    return ConfigError(
        f"init.model: the bundle does not fit the {other}: {'; '.join(texts)}; {advice}, or choose another bundle"
    )


def begun(folder: Path, field: str = "resume", advice: str = START_ANEW) -> Experiment:
    """Read the experiment that a run began with, which a field names.

    Raises:
        ConfigError: it is damaged, or another version wrote it.
    """
    try:
        written = json.loads((folder / EXPERIMENT).read_text(encoding="utf-8"))
        found = written.get("format_version", 1)
    except (ValueError, AttributeError):
        raise ConfigError(f"{field}: {folder / EXPERIMENT} is damaged; {advice}") from None
    if found != FORMAT_VERSION:
        raise ConfigError(f"{field}: another version of Rayology began {folder.name} (format {found}); {advice}")
    try:
        return validated(Experiment, written["experiment"], where=str(folder / EXPERIMENT))
    except (ConfigError, KeyError, TypeError) as error:
        raise ConfigError(f"{field}: {folder.name} is not understood ({error}); {advice}") from None
