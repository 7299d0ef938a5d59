"""The benchmark of two workers runs, and its arithmetic is that of a ring."""

import json
import subprocess
from collections.abc import Callable

import pytest
from scaling import GIGABYTES_A_SECOND, estimate

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_one_and_two_workers_are_counted_ours_and_ddp(run_job: RunJob) -> None:
    done = run_job("benchmarks/scaling.py", "--quick")

    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout.splitlines()[-1])
    assert len(counted["images_a_second"]) == 2 * 2 * 2
    assert all(rate > 0 for rate in counted["images_a_second"].values())
    assert set(counted["met"]) == {"loses_no_more_than_ddp", "averaging_is_below_a_tenth"}
    assert "estimate for" in done.stderr


@pytest.mark.parametrize("count", [*GIGABYTES_A_SECOND])
def test_each_gpu_sends_its_gradients_twice_less_its_own_share(count: int) -> None:
    found = estimate(10**9, count)

    seconds = 2 * (count - 1) / count / GIGABYTES_A_SECOND[count]
    assert found["all_reduce_ms"] == pytest.approx(1000 * seconds, abs=0.001)
    assert found["step_ms"] == pytest.approx(10_000 * seconds, abs=0.01)
