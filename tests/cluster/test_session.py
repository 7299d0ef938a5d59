"""A Ray that a command starts for itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OF_ITS_OWN = """
import ray
from rayology.session import on_cluster

with on_cluster():
    print(len(ray.nodes()))
"""


def test_a_command_with_a_long_tmpdir_starts_one_and_does_not_speak_of_tokens(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "RAY_ADDRESS": "local"}

    ended = subprocess.run(
        [sys.executable, "-c", OF_ITS_OWN], capture_output=True, text=True, check=False, env=environment
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout == "1\n"
    assert not any(word in ended.stderr for word in ("ERROR", "oken"))
