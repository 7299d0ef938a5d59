"""Preparing on a real local Ray."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from rayology.data.preparation import PatchesConfig, SlicesConfig
from rayology.data.prepare import prepare
from rayology.data.workers import in_order
from rayology.errors import SourceLost
from rayology.experiment import Experiment
from rayology.session import KEEP_FREED_MEMORY

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.mark.parametrize("cut", [SlicesConfig(), PatchesConfig(spacing_mm=8.0)])
def test_a_cluster_prepares_what_one_process_does(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: SlicesConfig | PatchesConfig
) -> None:
    preparation = small.preparation.patched({"cut": cut.model_dump()})
    on_cluster = prepare(small.source, preparation, tmp_path / "cluster")

    # Ray stays up for the other tests, so that this process has to be told to work alone.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    alone = prepare(small.source, preparation, tmp_path / "alone")

    assert on_cluster.info.splits == alone.info.splits
    for name in ("images-00000.npy", "masks-00000.npy"):
        assert (on_cluster.path / name).read_bytes() == (alone.path / name).read_bytes()


def test_an_error_of_our_own_comes_back_from_a_worker_as_it_was_raised() -> None:
    def lose(task: int) -> int:
        raise SourceLost(f"task {task}: the table cannot be read here")

    with pytest.raises(SourceLost, match=r"^task 1: the table cannot be read here$") as raised:
        list(in_order(lose, [1]))

    assert type(raised.value) is SourceLost


def test_an_empty_folder_says_so(tmp_path: Path, run_job: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    (tmp_path / "empty").mkdir()

    ended = run_job(
        "prepare.py", "--source.kind", "folder", "--source.path", tmp_path / "empty", "--storage", tmp_path / "storage"
    )

    assert ended.returncode == 2
    assert "SourceError" in ended.stderr
    assert str(tmp_path / "empty") in ended.stderr


JOIN = """
import json, os, ray
from rayology.session import on_cluster

with on_cluster():
    print(json.dumps(ray.get(ray.remote(lambda: dict(os.environ)).remote())))
"""


def test_workers_of_a_cluster_that_a_job_joins_keep_the_memory_that_they_free(ray_cluster: str) -> None:
    environment = {**os.environ, "RAY_ADDRESS": ray_cluster}

    ended = subprocess.run([sys.executable, "-c", JOIN], capture_output=True, text=True, check=True, env=environment)

    assert json.loads(ended.stdout.splitlines()[-1]).items() >= KEEP_FREED_MEMORY.items()
