"""The benchmark of the loop's overhead runs, and counts only what takes the same step as the bare loop."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from overhead import require_same_step
from peers import PeerError

ROOT = Path(__file__).parents[2]

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_our_loop_ends_with_the_weights_of_a_bare_one_and_its_overhead_is_counted(
    run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "platform"))  # for the process that trains

    done = run_job("benchmarks/overhead.py", "--quick")

    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout.splitlines()[-1])
    assert counted["missing"] == {}
    assert set(counted["added_us"]) == {"rayology"}
    assert set(counted["met"]) == {"one_phase_30_us", "two_phases_60_us"}
    assert "microseconds a step" in done.stderr


def test_a_library_that_takes_another_step_is_not_counted() -> None:
    require_same_step({"bare_weights": [0.5, 1.0], "own_weights": [0.5, 1.0]})

    with pytest.raises(PeerError, match="its weights end at"):
        require_same_step({"bare_weights": [0.5, 1.0], "own_weights": [0.5, 1.1]})
