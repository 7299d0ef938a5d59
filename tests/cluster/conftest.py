"""One real local Ray for the whole run: starting one takes seconds."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from rayology.data import PreparedDataset

AGENT_PORT = 52365  # of Ray's job agent: the second Ray on a machine takes no jobs


@pytest.fixture(scope="session")
def ray_cluster(data: PreparedDataset) -> Iterator[str]:  # noqa: ARG001 - in this process: no other has to start
    """Give the address of a cluster that other processes may join, and let them submit jobs to it with its token."""
    # A shell has it ignored in what runs in the background, and so would the processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"  # a report waits for the controller's next look
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process for each training
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where jobs find their python
    takes_jobs = _is_free(AGENT_PORT)
    # The name is short because Ray puts sockets there, whose paths Linux limits to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    context = ray.init(num_cpus=4, logging_level="warning", log_to_driver=False, _temp_dir=str(folder))
    # A submitted job joins any Ray of the machine, another test's too, unless its own cluster's folder names one as
    # `ray start` would have it do.
    (folder / "ray_current_cluster").write_text(ray.get_runtime_context().gcs_address)
    if takes_jobs:
        os.environ["RAY_API_SERVER_ADDRESS"] = f"http://{context.dashboard_url}"
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
