"""Measure what a training loop costs over a bare one, on a model of one parameter, next to other libraries.

python jobs/benchmarks/overhead.py

Microseconds a step, computed by one thread, which is what other work on the machine disturbs least. What a step is, and
what ours does besides, stands in overhead_peer.py. Each library is compared with the bare loop that ran right before it
in the same process.
"""

import contextlib
import statistics
from collections.abc import Mapping
from pathlib import Path

from peers import OURS, Peer, PeerError, Process, started
from pydantic import PositiveInt
from rich.table import Table

from rayology.config import Config
from rayology.job import run
from rayology.progress import console

SCRIPT = Path(__file__).parent / "overhead_peer.py"
LIMITS = {1: ("one_phase_30_us", 30.0), 2: ("two_phases_60_us", 60.0)}
TOLERANCE = 1e-6  # of a weight
_LIGHTNING = Peer("lightning", ("lightning", "numpy", "torch"))
SUBJECTS = {
    OURS.name: OURS,
    "Fabric": _LIGHTNING,
    "MONAI engines": Peer("monai-engines", ("monai", "numpy", "pytorch-ignite", "torch")),
    "accelerate": Peer("accelerate", ("accelerate", "numpy", "torch")),
    "Lightning": _LIGHTNING,
}


class OverheadConfig(Config):
    """How long to measure."""

    rounds: PositiveInt = 9
    """Times that each library is asked in turn."""
    steps: PositiveInt = 300
    """Steps of each time, after 50 that do not count."""
    quick: bool = False
    """Three short rounds of ours alone."""


def main(config: OverheadConfig) -> Mapping[str, object]:
    """Return the median microseconds a step of the bare loop, and what each library adds to it."""
    rounds, steps = (3, 100) if config.quick else (config.rounds, config.steps)
    processes: dict[str, Process] = {}
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as running:
        for name, peer in SUBJECTS.items():
            if config.quick and peer != OURS:
                continue
            try:
                process = running.enter_context(started(peer, SCRIPT, name))
                for phases in LIMITS:
                    require_same_step(process.ask({"phases": phases, "steps": 100, "same_noise": True}))
                processes[name] = process
            except PeerError as error:
                if peer == OURS:
                    raise
                missing[name] = str(error)
        for _ in range(rounds):
            for name, process in processes.items():
                for phases in LIMITS:
                    found = process.ask({"phases": phases, "steps": steps, "same_noise": False})
                    bare, own = float(str(found["bare"])), float(str(found["own"]))
                    measured.setdefault((name, phases), []).append((bare, own - bare))

    bare_us = {
        str(phases): round(statistics.median(bare for name in processes for bare, _ in measured[name, phases]), 1)
        for phases in LIMITS
    }
    added_us = {
        name: {
            str(phases): round(statistics.median(more for _, more in measured[name, phases]), 1) for phases in LIMITS
        }
        for name in processes
    }
    console.print(table(bare_us, added_us))
    for name, reason in missing.items():
        console.print(f"{name} is missing: {reason}", style="yellow", markup=False, highlight=False)
    met = {target: added_us[OURS.name][str(phases)] <= most for phases, (target, most) in LIMITS.items()}
    return {"bare_us": bare_us, "added_us": added_us, "missing": missing, "met": met}


def require_same_step(found: Mapping[str, object]) -> None:
    """Refuse a library whose step is not that of the bare loop.

    Raises:
        PeerError: says with which weights both ended.
    """
    bare, own = (found[name] for name in ("bare_weights", "own_weights"))
    assert isinstance(bare, list)  # noqa: S101 - as the script answers
    assert isinstance(own, list)  # noqa: S101 - as before
    if max(abs(mine - other) for mine, other in zip(own, bare, strict=True)) > TOLERANCE:
        raise PeerError(f"its weights end at {own}, those of the bare loop at {bare}")


def table(bare_us: Mapping[str, float], added_us: Mapping[str, Mapping[str, float]]) -> Table:
    """Return a row a library."""
    shown = Table("microseconds a step", "one phase", "of the bare loop", "two phases", "of the bare loop")
    shown.add_row("bare loop", f"{bare_us['1']:.0f}", "", f"{bare_us['2']:.0f}", "")
    for name, added in added_us.items():
        cells = [(f"{added[phases]:+.0f}", f"{added[phases] / bare_us[phases]:+.0%}") for phases in bare_us]
        shown.add_row(name, *cells[0], *cells[1])
    return shown


if __name__ == "__main__":
    run(OverheadConfig, main)
