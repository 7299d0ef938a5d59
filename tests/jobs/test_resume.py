"""The benchmark of resuming runs, with one training that is killed once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_training_that_was_killed_ends_with_the_bits_of_one_that_was_not() -> None:
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "jobs" / "benchmarks" / "resume.py",
            "--trainings",
            '["vae-2"]',
            "--kills",
            "1",
            "--steps",
            "30",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "platform")},
    )

    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["kills"], figures["trainings"]) == (1, 1)
    assert figures["met"]["same_bits"]
