"""What a job prints on stdout is its answer alone, so that programs may read all of it as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayology.experiment import Experiment

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
OF_ITS_OWN = """
import ray
from rayology.session import on_cluster

with on_cluster():
    print(len(ray.nodes()))
"""


def run(*words: str | Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform"), **environment},
    )


def test_all_that_a_sweep_prints_is_json(small: Experiment, ray_cluster: str, tmp_path: Path) -> None:
    search = {"num_trials": 2, "grace_steps": 2, "concurrent_trials": 1}  # one process for both
    shorter = {"schedule": {"steps": 4, "evaluate_every": 2}, "search": search}
    (tmp_path / "small.yaml").write_text(small.patched({"storage": str(tmp_path), **shorter}).model_dump_json())

    ended = run("-m", "rayology", "tune", tmp_path / "small.yaml", environment={"RAY_ADDRESS": ray_cluster})

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout)["name"] == "small"


def test_a_job_with_a_long_tmpdir_starts_a_ray_of_its_own_and_does_not_speak_of_tokens(tmp_path: Path) -> None:
    (tmp_path / ("long" * 30)).mkdir()
    environment = {"TMPDIR": str(tmp_path / ("long" * 30)), "RAY_ADDRESS": "local"}

    ended = run("-c", OF_ITS_OWN, environment=environment)

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout == "1\n"
    assert not any(word in ended.stderr for word in ("ERROR", "oken"))
