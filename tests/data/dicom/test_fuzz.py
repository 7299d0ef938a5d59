"""A short run of the fuzzing benchmark, over all syntaxes and over the zoo where it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[3] / "jobs" / "benchmarks" / "fuzz_dicom.py"


def fuzzed(*words: str) -> dict[str, int]:
    ended = subprocess.run([sys.executable, BENCHMARK, *words], capture_output=True, text=True, check=True)
    figures: dict[str, int] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def test_damage_is_refused_and_never_crashes_hangs_or_fills_the_memory() -> None:
    found = fuzzed("--files", "2000", "--seed", "1")

    assert (found["crashes"], found["hangs"], found["foreign"]) == (0, 0, 0)
    assert found["peak_mib"] < 1024


def test_damaged_files_of_the_zoo_are_refused_too(shared_data: Path) -> None:
    found = fuzzed("--files", "1000", "--folder", str(shared_data / "dicom_zoo"))

    assert found["originals"] > 200
    assert (found["crashes"], found["hangs"], found["foreign"]) == (0, 0, 0)
    assert found["peak_mib"] < 1024
