"""Training on a real local Ray."""

import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
import ray
from ray.scripts.scripts import cli
from ray.util.state import list_actors
from tests.training.recipes import train_alone
from tests.training.untrained import untrained

from rayology.bundle import Bundle
from rayology.commands import train as train_command
from rayology.data import PreparedDataset
from rayology.data import workers as data_workers
from rayology.data.workers import in_order
from rayology.errors import ConfigError, DatasetError, Diverged
from rayology.experiment import Experiment
from rayology.interruption import interruptible
from rayology.training.cluster import awaited, train
from rayology.training.history import read
from rayology.training.incidents import read_incidents
from rayology.training.run import BUNDLE, Run, open_run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

STEPS, CHECKPOINT_EVERY = 300, 20
TWO_WORKERS = {"scaling": {"num_workers": 2, "precision": "float64"}}


def steps_of(run: Run) -> list[int]:
    return [int(line["step"]) for line in read(run.folder) if "vae/rate" in line]


def workers() -> list[int]:
    address = ray.get_runtime_context().gcs_address
    filters = [("class_name", "=", "RayTrainWorker"), ("state", "=", "ALIVE")]
    alive = list_actors(address=address, filters=filters, detail=True)
    return [actor.pid for actor in alive]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_past(run: Run, step: int) -> bool:
    return max(steps_of(run), default=0) > step


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something beside the block, and all of it by its end."""
    with ThreadPoolExecutor() as thread:
        acting = thread.submit(act)
        yield
        acting.result(0)


@pytest.fixture(scope="module")
def longer(small: Experiment) -> Experiment:
    """Give what two workers train for long enough to be interrupted and to lose two of them."""
    schedule = {"steps": STEPS, "batch_size": 32, "evaluate_every": STEPS, "checkpoint_every": CHECKPOINT_EVERY}
    return small.patched({**TWO_WORKERS, "schedule": schedule})


@pytest.fixture(scope="module")
def trained(longer: Experiment, data: PreparedDataset, ray_cluster: str) -> Run:
    """Train with a worker on each of two nodes, interrupt them; once they went on take a node away, then kill one."""
    run = open_run(longer, "runs")
    with pytest.MonkeyPatch.context() as patch, second_node(ray_cluster) as node:
        patch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")
        patch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
        patch.setattr(signal, "getsignal", lambda _: signal.default_int_handler)  # the shell may have had it ignored

        def interrupt() -> None:
            until(lambda: is_past(run, 0))
            os.kill(os.getpid(), signal.SIGINT)

        with meanwhile(interrupt), pytest.raises(SystemExit, match="130"), interruptible():
            train(run, data)
        interrupted_at = steps_of(run)[-1]
        assert interrupted_at < STEPS / 2

        def lose_both() -> None:
            until(lambda: is_past(run, interrupted_at))
            drain(node, ray_cluster)
            until(lambda: any("being taken away" in line for line in read_incidents(run.folder)))
            drained_at = steps_of(run)[-1]
            until(lambda: is_past(run, drained_at + CHECKPOINT_EVERY))
            os.kill(workers()[-1], signal.SIGKILL)

        with meanwhile(lose_both):
            train(open_run(Experiment(storage=longer.storage, resume=run.folder.name), "runs"), data)
    return run


@contextmanager
def second_node(cluster: str) -> Iterator[str]:
    """Have a node join the cluster for the block, and give its id."""
    before = {node["NodeID"] for node in ray.nodes()}
    # Its own folder: in Ray's default one it would name this cluster as the one that other processes join.
    folder = mkdtemp(prefix="ray-")
    words = ["ray", "start", "--address", cluster, "--num-cpus", "2", "--block", "--temp-dir", folder]
    started = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (joined := [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in before]):
        assert started.poll() is None
        time.sleep(0.1)
    yield joined[0]
    started.terminate()
    started.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def drain(node: str, cluster: str) -> None:
    """Announce that a node will be taken away, as the provider of a spot instance does."""
    where = ("--address", cluster, "--node-id", node, "--deadline-remaining-seconds", "300")
    why = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test")
    cli.main(["drain-node", *where, *why], standalone_mode=False)


def test_a_training_that_was_interrupted_and_lost_a_node_and_a_worker_takes_each_step_once_and_leaves_a_bundle(
    trained: Run, data: PreparedDataset
) -> None:
    bundle = Bundle.load(trained.folder / BUNDLE)

    assert bundle.manifest.provenance.steps == STEPS
    assert bundle.manifest.provenance.dataset == data.info.fingerprint
    assert {"mmd", "mmd/real", "copies", "psnr", "bound"} <= bundle.manifest.metrics.keys()
    assert bundle.build().image == data.info.image
    assert steps_of(trained) == list(range(5, STEPS + 1, 5))
    assert [word for line in read_incidents(trained.folder) for word in ("taken away", "was lost") if word in line] == [
        "taken away",
        "was lost",
    ]
    assert list(trained.folder.glob("tensorboard/*.tfevents.*"))


def test_a_training_that_its_datasets_images_refuse_leaves_no_run(
    small: Experiment, data: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_workers, "is_parallel", lambda: False)  # processes take longer to start than to prepare
    bundle = untrained(tmp_path / "bundle", small, data)
    larger = {"storage": str(tmp_path), "preparation": {"size": 24}, "init": {"model": str(bundle.path)}}

    with pytest.raises(ConfigError, match=r"preparation.size is \[16, 16\] in the bundle, \[24, 24\] in the dataset"):
        train_command.main(small.patched(larger))

    assert not list((tmp_path / "runs").iterdir())


def test_two_workers_end_with_the_figures_of_one(longer: Experiment, data: PreparedDataset, trained: Run) -> None:
    alone = longer.patched({"scaling": {"num_workers": 1, "microbatches": 2}})

    figures = train_alone(open_run(alone, "runs"), data).manifest.metrics

    assert figures == pytest.approx(Bundle.load(trained.folder / BUNDLE).manifest.metrics, rel=1e-6, abs=1e-9)


def test_an_ended_run_is_found_again_and_has_nothing_left_to_do(trained: Run, data: PreparedDataset) -> None:
    metrics = Bundle.load(trained.folder / BUNDLE).manifest.metrics

    again = open_run(Experiment(storage=trained.experiment.storage, resume=trained.folder.name), "runs")

    assert again.experiment == trained.experiment
    assert train_alone(again, data).manifest.metrics == metrics


def test_who_waits_for_a_core_says_so_and_starts_when_it_is_free(
    small: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    busy = ray.remote(num_cpus=4)(list).remote()
    ray.get(busy.__ray_ready__.remote())
    words, more = (awaited(small.patched({"scaling": {"num_workers": num}})) for num in (2, 8))
    caplog.set_level(logging.INFO, "rayology")
    threading.Timer(6, ray.kill, [busy]).start()

    worked = list(in_order(abs, [-1, -2]))

    assert words == "waiting for 2 cores, for 2 workers; 0 of 4 cores are free"
    assert more == "waiting for 8 cores, for 8 workers; 0 of 4 cores are free; the cluster has to grow first"
    assert caplog.messages == ["waiting for 1 core, for 1 task; 0 of 4 cores are free."]
    assert worked == [1, 2]
    assert awaited(small) == ""


def test_two_workers_that_diverge_end_together_and_say_what_to_lower(small: Experiment, data: PreparedDataset) -> None:
    """Only the leader sees what it evaluates: the other must not wait for it."""
    schedule = {"log_every": 1000, "evaluate_every": 3}
    run = open_run(small.patched({**TWO_WORKERS, "optimizer": {"lr": 1e30}, "schedule": schedule}), "runs")

    with pytest.raises(Diverged, match=r"lower optimizer\.lr"):
        train(run, data)


def test_a_single_image_that_validates_is_refused_at_once(small: Experiment, data: PreparedDataset) -> None:
    alone = data.info.splits["validation"].model_copy(update={"images": 1})
    info = data.info.model_copy(update={"splits": {**data.info.splits, "validation": alone}})

    with pytest.raises(DatasetError, match=r"raise preparation\.validation"):
        train(open_run(small, "runs"), replace(data, info=info))
