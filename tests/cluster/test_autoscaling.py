"""Replicas are added while images wait, by what the replicas themselves report: HAProxy sends requests past Serve."""

import asyncio
import socket
import time
from pathlib import Path

import httpx
import pytest
from ray import serve
from tests.cluster.test_serving import published

from rayology.serving.app import ServeArgs, run
from rayology.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def num_running() -> int:
    states = serve.status().applications["tiny"].deployments["model"].replica_states
    return int(states.get("RUNNING", 0))


def wait_until_two(timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and num_running() < 2:
        time.sleep(1)


async def ask_until_two(url: str, *, num_clients: int, timeout_s: float) -> list[int]:
    """Return the statuses of all answers until a second replica runs, or the time is over."""
    is_over, statuses = asyncio.Event(), list[int]()

    async def client(session: httpx.AsyncClient) -> None:
        while not is_over.is_set():
            statuses.append((await session.post(f"{url}/generate", json={"count": 4, "seed": 1})).status_code)

    async with httpx.AsyncClient(timeout=60) as session:
        clients = [asyncio.create_task(client(session)) for _ in range(num_clients)]
        await asyncio.to_thread(wait_until_two, timeout_s)
        is_over.set()
        await asyncio.gather(*clients)
    return statuses


def test_a_second_replica_comes_while_batches_wait_and_no_request_fails(
    ray_cluster: None,  # noqa: ARG001 - it must run
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path / "store"))
    store.set_champion("tiny", published(store, tmp_path / "bundle", seed=0))
    args = ServeArgs(store=store.uri, access="open", batch_size=4, max_replicas=2)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = int(bound.getsockname()[1])

    with run(args, name="tiny", port=port) as url:
        before = num_running()
        statuses = asyncio.run(ask_until_two(url, num_clients=8, timeout_s=120))
        after = num_running()

    assert (before, after) == (1, 2)
    assert set(statuses) == {200}
