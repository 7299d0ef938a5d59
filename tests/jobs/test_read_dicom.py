"""The benchmark of reading runs, with the libraries that are asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


def timed(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "jobs" / "benchmarks" / "read_dicom.py", *flags],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
    )


def test_ours_alone_is_timed_where_no_other_is_asked_for() -> None:
    done = timed("--subjects", "[]", "--size", "32", "--files", "2", "--rounds", "1")

    figures = json.loads(done.stdout.splitlines()[-1])
    assert set(figures["slices_a_cpu_second"]) == {"rayology"}
    assert set(figures["two_threads_over_one"]) == set(figures["slices_a_cpu_second"]["rayology"]) - {"raw"}
    assert figures["notes"] == []


def test_a_library_that_is_not_known_is_a_users_mistake(run_job: RunJob) -> None:
    done = run_job("benchmarks/read_dicom.py", "--subjects", '["itk"]')

    assert done.returncode == 2
    assert "subjects: itk not known; write some of: pydicom, pydicom-default" in " ".join(done.stderr.split())
