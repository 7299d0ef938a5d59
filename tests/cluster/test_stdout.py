"""What a job prints on stdout is its answer alone, so that programs may read all of it as JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayology.data import PreparedDataset
from rayology.experiment import Experiment

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def run(*words: str | Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rayology", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform"), **environment},
    )


def test_all_that_a_sweep_prints_is_json(small: Experiment, ray_cluster: str, tmp_path: Path) -> None:
    search = {"num_trials": 2, "grace_steps": 2, "concurrent_trials": 1}  # one process for both
    shorter = {"schedule": {"steps": 4, "evaluate_every": 2}, "search": search}
    (tmp_path / "small.yaml").write_text(small.patched({"storage": str(tmp_path), **shorter}).model_dump_json())

    ended = run("tune", tmp_path / "small.yaml", environment={"RAY_ADDRESS": ray_cluster})

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout)["name"] == "small"


def test_a_job_with_a_long_tmpdir_starts_a_ray_of_its_own_and_does_not_speak_of_tokens(
    small: Experiment, data: PreparedDataset, tmp_path: Path
) -> None:
    (tmp_path / ("long" * 30)).mkdir()
    (tmp_path / "small.yaml").write_text(small.model_dump_json())
    environment = {"TMPDIR": str(tmp_path / ("long" * 30)), "RAY_ADDRESS": "local"}

    ended = run("prepare", tmp_path / "small.yaml", environment=environment)

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout)["images"] == data.info.counts.images
    assert "oken" not in ended.stderr
