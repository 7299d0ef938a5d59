"""The benchmark of feeding runs, and what it counts are all images of every epoch."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from feed import require_all_images
from peers import PeerError

ROOT = Path(__file__).parents[2]

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_feeding_alone_is_counted_in_both_forms(run_job: RunJob, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--subjects", "[]", "--sizes", "[32]", "--megabytes", "1", "--rounds", "1", "--seconds", "0.1"]
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "platform"))  # for the process that feeds

    done = run_job("benchmarks/feed.py", *flags)

    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout.splitlines()[-1])["32"]
    assert counted["missing"] == {}
    assert set(counted["images_a_second"]) == {"rayology"}
    assert all(rate > 0 for rate in counted["images_a_second"]["rayology"].values())
    assert "32x32, images a second" in done.stderr


@pytest.mark.parametrize("epoch", [{"batches": 15, "mean": 0.0}, {"batches": 16, "mean": 0.5}])
def test_a_library_that_drops_or_changes_images_is_not_counted(epoch: dict[str, float]) -> None:
    require_all_images({"batches": 16, "mean": 0.001}, 1024)

    with pytest.raises(PeerError, match="an epoch of it is"):
        require_all_images(epoch, 1024)


def test_a_library_that_is_not_known_is_a_users_mistake(run_job: RunJob) -> None:
    done = run_job("benchmarks/feed.py", "--subjects", '["torchio"]')

    assert done.returncode == 2
    assert "subjects: torchio not known; write some of: rayology, MONAI CacheDataset" in " ".join(done.stderr.split())
