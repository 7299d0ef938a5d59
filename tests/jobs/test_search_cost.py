"""The benchmark of what a sweep costs runs, and measures the sweep itself."""

import json
import subprocess
from collections.abc import Callable

import pytest

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_a_trial_that_does_nothing_and_busy_cores_are_measured(run_job: RunJob) -> None:
    done = run_job("benchmarks/search_cost.py", "--quick")

    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout.splitlines()[-1])
    assert set(counted["seconds_a_trial"]) == {"ours", "plain Tune", "Optuna with a journal", "Optuna in memory"}
    assert all(seconds > 0 for seconds in counted["seconds_a_trial"].values())
    assert 0 < counted["cores"]["computing"] <= counted["cores"]["taken"] <= 1
    assert set(counted["met"]) == {"a_trial_costs_100_ms", "cores_are_busy"}
    assert "a trial that does nothing" in done.stderr
