"""Kill what serves, and change what is served, while clients ask: no answer may be lost, or be of another version.

python jobs/benchmarks/serving_faults.py

Two replicas answer clients of ours, and one that is not ours and tries nothing again. One fault after the other: a
replica, HAProxy, what looks after it, or Serve's controller is killed with SIGKILL; the champion changes, once to a
damaged bundle; the application is deployed again with other limits. The next comes once two replicas run, as long as
the processes that Serve counts as such live.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import torch
from peers import OURS, PeerError, Process, answer, commands, started
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from rich.table import Table
from torch import nn

from rayology.bundle import Provenance, write_bundle
from rayology.client import AsyncClient
from rayology.config import Config
from rayology.errors import RequestError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.job import run
from rayology.models import VaeConfig
from rayology.progress import console, progress_bar
from rayology.serving.app import ServeArgs, build, load
from rayology.serving.app import run as serving
from rayology.serving.predictor import Threads
from rayology.serving.schemas import GenerateRequest
from rayology.serving.verbs import GENERATE
from rayology.session import on_cluster
from rayology.store import Store

NAME, HOST = "faults", "127.0.0.1"
INIT = 1  # the process below which all are
PROCESSES = {  # and how their command lines begin
    "replica": "ray::ServeReplica",
    "HAProxy": r"\S*/haproxy -db .*-f (\S+)",
    "HAProxy's manager": "ray::HAProxyManager",
    "controller": "ray::ServeController",
}
SEEDS = range(8)  # that clients ask for
PAUSE_S = 0.1  # of a client between two requests, so that the machine has time to start replicas
LATEST_S = 2.0  # how long after two replicas run the next fault comes at most
MENDED_S = 180.0
VARIABLES = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


class ServingFaultsConfig(Config):
    """How often to do what."""

    requests: PositiveInt = 10_000
    """Answers of our clients at least."""
    replicas: NonNegativeInt = 50
    """Replicas to kill."""
    others: NonNegativeInt = 5
    """How often to kill HAProxy, its manager and the controller, each."""
    champions: NonNegativeInt = 5
    """How often the champion changes; the second time it is damaged."""
    deployments: NonNegativeInt = 2
    """How often to deploy again."""
    clients: PositiveInt = 8
    """Clients of ours that ask at the same time."""
    timeout_s: PositiveFloat = 60.0
    """Time in which a client of ours must be answered."""
    seed: NonNegativeInt = 0
    """What the order and the moments of the faults are drawn from."""
    quick: bool = False
    """A kill of a replica and of HAProxy, and a new champion."""


@dataclass
class Heard:
    """What clients were answered."""

    wanted: int
    """How many answers there should be at least."""
    has_suffered: bool = False
    """Whether nothing more will happen to the server."""
    answered_at: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    """Images that are not those of the version that the answer named."""
    bare: int = 0
    bare_failures: Counter[str] = field(default_factory=Counter)

    @property
    def is_over(self) -> bool:
        """Whether clients may stop."""
        return self.has_suffered and len(self.answered_at) >= self.wanted

    @property
    def gap_s(self) -> float:
        """The longest time without an answer."""
        return self.gap_since(0.0)

    def gap_since(self, began_at: float) -> float:
        """Return the longest time without an answer from the last one before a moment on."""
        times = sorted(self.answered_at)
        return float(max(np.diff(times[max(bisect(times, began_at) - 1, 0) :]), default=0.0))


@dataclass(frozen=True)
class Stage:
    """A server with a store to change."""

    process: Process
    store: Store
    versions: Sequence[str]
    damaged: str
    url: str
    images: Mapping[tuple[str, int], bytes]
    """What each version draws from each seed."""
    haproxy_config: str
    """The file by which its HAProxies are known, also those that no process of the server's started."""

    def pids(self, kind: str) -> list[int]:
        """Return the ids of processes of a kind."""
        if kind == "HAProxy":
            return [pid for pid, words in commands(INIT).items() if _config_of(words).startswith(self.haproxy_config)]
        return [pid for pid, words in commands(self.process.pid).items() if re.match(PROCESSES[kind], words)]


def main(config: ServingFaultsConfig) -> Mapping[str, object]:
    """Return what came of the requests, and whether none was lost."""
    if config.quick:
        config = ServingFaultsConfig(requests=100, champions=1, quick=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store, versions, damaged = filled(folder, config.champions + 1)
        images = expected(store, versions)
        with started(OURS, Path(__file__), "server", store.uri, variables=VARIABLES) as process:
            url = str(process.ask({})["url"])
            haproxy = max(map(_config_of, commands(process.pid).values()))
            if not haproxy:
                raise PeerError("no HAProxy of the server's is found, so that it cannot be told from others")
            stage = Stage(process, store, versions, damaged, url, images, haproxy)
            heard, gaps = asyncio.run(disturbed(config, stage))
    console.print(table(gaps))
    for who, failures in (("our client", heard.failures), ("the other client", heard.bare_failures)):
        console.print(f"{who}: {sum(failures.values())} failed", dict(failures), highlight=False)
    return {
        "requests": len(heard.answered_at),
        "failed": dict(heard.failures),
        "of_another_version": heard.wrong,
        "longest_gap_s": heard.gap_s,
        "gaps_s": gaps,
        "bare_requests": heard.bare,
        "bare_failed": dict(heard.bare_failures),
        "met": {
            "none_failed": not heard.failures,
            "none_of_another_version": heard.wrong == 0,
            "no_gap_over_10_s": heard.gap_s <= 10,
        },
    }


def filled(folder: Path, count: int) -> tuple[Store, Sequence[str], str]:
    """Return a store with so many versions and a damaged one; the first is the champion."""
    store, published = Store(str(folder / "store")), list[str]()
    for number in range(count + 1):
        torch.manual_seed(number)
        model = VaeConfig().build(ImageSpec(size=(32, 32)))
        for weight in model.parameters():  # an untrained network draws a flat image
            nn.init.normal_(weight, std=0.15)
        origin = Provenance(dataset="none", note="", seed=number, steps=1, created_at=datetime.now(UTC), packages={})
        experiment = Experiment(seed=number)
        bundle = write_bundle(
            folder / str(number), experiment=experiment, model=model, metrics={"copies": 0.0}, provenance=origin
        )
        published.append(store.publish(bundle, NAME))
    *versions, damaged = published
    weights = store.fetch(NAME, damaged) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    store.set_champion(NAME, versions[0])
    return store, versions, damaged


def expected(store: Store, versions: Sequence[str]) -> dict[tuple[str, int], bytes]:
    """Return what each version draws from each seed."""
    threads, found = Threads.start(1), {}
    for version in versions:
        predictor = load(arguments(store.uri), store, threads, version)
        for seed in SEEDS:
            drawn = asyncio.run(predictor.answer(GENERATE, GenerateRequest(seed=seed)))
            found[version, seed] = drawn.images.tobytes()
    return found


def arguments(store: str, *, max_count: int = 64) -> ServeArgs:
    """Return what the server is built with."""
    return ServeArgs(store=store, model=NAME, access="open", num_replicas=2, max_count=max_count, num_threads=1)


def serve(store: str) -> None:
    """Serve, and answer where; deploy again if asked to."""
    from ray import serve as ray_serve  # noqa: PLC0415 - the parent does without
    from ray.serve.context import _get_global_client  # noqa: PLC0415 - as above

    def act(question: Mapping[str, object]) -> Mapping[str, object]:
        if count := question.get("max_count"):
            application = build(arguments(store, max_count=int(str(count))))
            ray_serve.run(application, name=NAME, route_prefix=f"/models/{NAME}")
        # Serve's client tells which processes are replicas, its public status only how many there are.
        applications = _get_global_client().get_serve_details()["applications"]
        replicas = applications[NAME]["deployments"]["model"]["replicas"]
        return {"url": url, "running": [each["pid"] for each in replicas if each["state"] == "RUNNING"]}

    with on_cluster(), serving(arguments(store), name=NAME, port=free_port()) as url:
        answer(act)


def free_port() -> int:
    """Return a port that nothing listens on."""
    import socket  # noqa: PLC0415

    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


async def disturbed(config: ServingFaultsConfig, stage: Stage) -> tuple[Heard, dict[str, float]]:
    """Ask while one fault comes after the other, and return the longest gap after each kind of them too."""
    heard, gaps = Heard(config.requests), dict[str, float]()
    async with asyncio.TaskGroup() as group:
        for number in range(config.clients):
            group.create_task(client(stage, heard, number, config.timeout_s))
        group.create_task(bare_client(stage, heard))
        draw = np.random.default_rng(config.seed)
        await asyncio.sleep(LATEST_S)
        kinds = {**dict.fromkeys(PROCESSES, config.others), "replica": config.replicas}
        kinds |= {"champion": config.champions, "deployment": config.deployments}
        if config.quick:
            kinds = dict.fromkeys(("replica", "HAProxy", "champion"), 1)
        faults = draw.permutation([fault for fault, count in kinds.items() for _ in range(count)])
        changes = iter(champions(config, stage))
        with progress_bar("faults", "one after the other") as bar:
            for number, fault in enumerate(map(str, faults)):
                bar.advance(
                    number, len(faults), f"{fault}; {len(heard.answered_at)} answers, {heard.failures.total()} lost"
                )
                await asyncio.sleep(float(draw.uniform(0, LATEST_S)))
                began_at = time.monotonic()
                await asyncio.to_thread(suffer, fault, stage, changes, number)
                await asyncio.to_thread(mended, stage, heard)
                gaps[fault] = max(gaps.get(fault, 0.0), heard.gap_since(began_at))
        heard.has_suffered = True
    return heard, gaps


def champions(config: ServingFaultsConfig, stage: Stage) -> list[str]:
    """Return what is promoted in turn."""
    good = list(stage.versions[1 : config.champions + 1])
    return [*good[:1], stage.damaged, *good[1:]][: config.champions]


def suffer(fault: str, stage: Stage, changes: Iterator[str], number: int) -> None:
    """Do one thing to the server."""
    match fault:
        case "champion":
            stage.store.set_champion(NAME, next(changes))
        case "deployment":
            with contextlib.suppress(PeerError):  # while the champion is damaged it is refused, and the old one stays
                stage.process.ask({"max_count": 64 + number})
        case _:
            if pids := stage.pids(fault):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[number % len(pids)], signal.SIGKILL)


def mended(stage: Stage, heard: Heard) -> None:
    """Wait until two replicas run, and clients are answered."""
    deadline = time.monotonic() + MENDED_S
    answered = len(heard.answered_at)
    while not _has_two_replicas(stage) or len(heard.answered_at) == answered:
        if time.monotonic() > deadline:
            raise TimeoutError(f"two replicas did not answer again in {MENDED_S:g} s")
        time.sleep(0.5)


def _has_two_replicas(stage: Stage) -> bool:
    counted = stage.process.ask({})["running"]
    return isinstance(counted, list) and len(set(counted).intersection(stage.pids("replica"))) == 2


def _config_of(command: str) -> str:
    """Return the configuration file of a HAProxy; empty for any other process."""
    found = re.match(PROCESSES["HAProxy"], command)
    return found[1] if found else ""


async def client(stage: Stage, heard: Heard, number: int, timeout_s: float) -> None:
    """Ask with our client until all is over."""
    seed = number
    async with AsyncClient(stage.url, timeout_s=timeout_s) as session:
        await session.card()  # before the first answer a client of ours does not wait for a server to come back
        while not heard.is_over:
            seed = (seed + 1) % len(SEEDS)
            try:
                drawn = await session.generate(seed=SEEDS[seed])
                heard.answered_at.append(time.monotonic())
                heard.wrong += drawn.images.tobytes() != stage.images[drawn.version, SEEDS[seed]]
            except RequestError as error:
                heard.failures[str(error).replace(stage.url, "")] += 1
            await asyncio.sleep(PAUSE_S)


async def bare_client(stage: Stage, heard: Heard) -> None:
    """Ask with a client that tries nothing again."""
    async with httpx.AsyncClient(timeout=60) as session:
        while not heard.is_over:
            heard.bare += 1
            try:
                response = await session.post(f"{stage.url}/generate", json={"seed": 0})
                if not response.is_success:
                    heard.bare_failures[str(response.status_code)] += 1
            except httpx.HTTPError as error:
                heard.bare_failures[type(error).__name__] += 1
            await asyncio.sleep(PAUSE_S)


def table(gaps: Mapping[str, float]) -> Table:
    """Return the longest gap after each kind of fault."""
    shown = Table("after", "longest time without an answer, s")
    for fault, gap in sorted(gaps.items()):
        shown.add_row(fault, f"{gap:.1f}")
    return shown


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", store]:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            serve(store)
        case _:
            run(ServingFaultsConfig, main)
