"""The benchmark of killed sweeps, with one sweep that is killed twice; and it sees what is lost, repeated or other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from search_faults import Difference, compared

from rayology.search.journal import Trial

ROOT = Path(__file__).parents[2]
ALONE = [Trial(number, {"optimizer.lr": 0.1 * number}, 0, losses=(1.0,), outcome="finished") for number in range(3)]


def test_what_a_sweep_lost_repeated_or_changed_is_counted() -> None:
    again = Trial(3, ALONE[0].point, 0, losses=(1.0,), outcome="finished")
    cut_off = Trial(2, ALONE[2].point, 0)

    assert compared(ALONE, ALONE) == Difference(0, 0, ())
    assert compared([*ALONE, again], ALONE) == Difference(0, 1, (3,))
    assert compared([*ALONE[:2], cut_off], ALONE) == Difference(1, 0, (2,))
    assert compared(ALONE[:2], ALONE) == Difference(1, 0, (2,))


@pytest.mark.slow
def test_a_sweep_that_is_killed_loses_and_repeats_nothing() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "jobs" / "benchmarks" / "search_faults.py", "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )

    counted = json.loads(done.stdout.splitlines()[-1])
    assert sum(counted["sweeps"]["1"]["killed"].values()) > 0
    assert set(counted["met"].values()) == {True}
