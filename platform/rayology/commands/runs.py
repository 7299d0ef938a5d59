"""List the runs of a storage: how far each is, its last figures, and whether it has a bundle.

rayology runs --storage /data/rayology
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from rayology.config import Config
from rayology.errors import ConfigError
from rayology.progress import console
from rayology.training.history import read
from rayology.training.run import BUNDLE, EXPERIMENT, begun

SHOWN = 4  # figures of a run in the table; the answer has all


class RunsConfig(Config):
    """Which runs to list."""

    storage: Path = Path(".rayology")
    """Folder of the runs, as in the experiment."""


@dataclass(frozen=True)
class State:
    """How far a run is."""

    step: int
    """Steps that it has taken, as its history says."""
    steps: int
    """Steps that it is to take; 0 if what it began with cannot be read."""
    figures: Mapping[str, float]
    """The newest of the validation, and the losses of before the first of them."""
    has_bundle: bool


def main(config: RunsConfig) -> Mapping[str, object]:
    """Return what is known of each run, the oldest first."""
    folder = config.storage.expanduser() / "runs"
    if not folder.is_dir():
        raise ConfigError(f"storage: {config.storage} holds no runs; name the folder that train was given")
    files = sorted(folder.glob(f"*/{EXPERIMENT}"), key=lambda file: file.stat().st_mtime_ns)
    runs = {file.parent.name: state_of(file.parent) for file in files}
    laid_out = Table("run", "steps", "last figures", "bundle")
    for name, state in runs.items():
        figures = ", ".join(f"{figure} {value:.4g}" for figure, value in list(state.figures.items())[:SHOWN])
        laid_out.add_row(name, f"{state.step} of {state.steps or '?'}", figures, "yes" if state.has_bundle else "no")
    console.print(laid_out)
    return {"runs": {name: asdict(state) for name, state in runs.items()}}


def state_of(folder: Path) -> State:
    """Read how far a run is."""
    lines = list(read(folder))
    evaluated = [line for line in lines if any(name.startswith("val/") for name in line)]
    last = (evaluated or lines or [{}])[-1]
    figures = {name: value for name, value in last.items() if name not in {"step", "seconds"}}
    try:
        steps = begun(folder).schedule.steps
    except ConfigError:  # another version of Rayology began it
        steps = 0
    return State(int(lines[-1]["step"]) if lines else 0, steps, figures, (folder / BUNDLE).is_dir())
