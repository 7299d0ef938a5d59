"""Attack a server, and see what its other clients, its memory and the answers to the attackers come to.

python jobs/benchmarks/serving_attacks.py

One replica answers clients of ours that ask for an image each, some on connections that stay, one on a new connection
each time. Attackers, in one process of their own, open connections and say nothing, send requests by halves or byte by
byte, send much, ask for too much, or send damaged bodies. At the end schemathesis asks what OpenAPI describes.
"""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from peers import OURS, Peer, Process, answer, commands, python_of, started
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from rich.table import Table
from serving_attackers import ATTACKS, TOKEN, Attacks
from serving_faults import PROCESSES, VARIABLES, arguments, filled, free_port

from rayology.client import AsyncClient
from rayology.config import Config
from rayology.errors import RequestError
from rayology.job import run
from rayology.progress import console
from rayology.serving.app import TOKEN as VARIABLE
from rayology.serving.app import run as serving
from rayology.session import on_cluster

NAME = "attacked"
ATTACKERS = Path(__file__).parent / "serving_attackers.py"
PAUSE_S = 0.02  # of another client between two requests
LOOK_S = 0.5  # between two looks at the memory
SETTLE_S = 0.5
ATTACK_S = 900.0  # that one may take at most
MOST_P99_MS, MOST_GROWTH_MB, MOST_REFUSAL_S = 50.0, 100.0, 1.0
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SCHEMATHESIS = Peer("schemathesis", ("schemathesis",))
HOOKS = "import schemathesis\n\nschemathesis.serializer.alias('application/x-npy', 'application/octet-stream')\n"


class ServingAttacksConfig(Config):
    """How hard to attack, and how to measure."""

    attacks: Attacks = Attacks()
    """The attacks."""
    before_s: PositiveFloat = 8.0
    """Length of the measurement before each attack, in seconds."""
    clients: PositiveInt = 4
    """Other clients on connections that stay."""
    examples: NonNegativeInt = 100
    """Requests of schemathesis to each endpoint in each of its phases; 0 leaves it out."""
    quick: bool = False
    """Few connections and bodies for two seconds each, without schemathesis."""


@dataclass
class Waits:
    """How long other clients waited for images, in seconds."""

    kept: list[float] = field(default_factory=list)
    """Waits on connections that stay."""
    new: list[float] = field(default_factory=list)
    """Waits on a new connection each."""
    failures: Counter[str] = field(default_factory=Counter)

    def p99_ms(self) -> dict[str, float]:
        """Return the 99th percentiles."""
        return {
            kind: 1000 * float(np.percentile(waits, 99)) if waits else float("inf")
            for kind, waits in (("kept", self.kept), ("new", self.new))
        }


@dataclass(frozen=True)
class Described:
    """What schemathesis found."""

    cases: str = "none"
    """Number of requests, and of those that passed."""
    differs: bool = False
    """Whether an answer is not as OpenAPI describes it, or schemathesis failed."""


@dataclass(frozen=True)
class Stage:
    """A server, those who attack it, and the address of what it serves."""

    server: Process
    attackers: Process
    url: str
    config: ServingAttacksConfig


def main(config: ServingAttacksConfig) -> Mapping[str, object]:
    """Return what came of each attack, and which targets were met."""
    if config.quick:
        few = {"idle": 1000, "slow": 100, "seconds": 2, "overload_s": 2, "bodies": 500}
        config = config.patched({"attacks": few, "before_s": 1, "examples": 0})
    python = python_of(SCHEMATHESIS) if config.examples else None
    with tempfile.TemporaryDirectory() as scratch:
        store, _, _ = filled(Path(scratch), 1)
        variables = {**VARIABLES, VARIABLE: TOKEN}
        with started(OURS, Path(__file__), "server", store.uri, variables=variables) as server:
            url = str(server.ask({})["url"])
            with started(OURS, ATTACKERS, url) as attackers:
                attackers.ask({})
                stage = Stage(server, attackers, url, config)
                attacks = {name: asyncio.run(attacked(stage, name)) for name in ATTACKS}
            console.print(table(attacks))
            described = compared(python, Path(scratch), url, config) if python else Described()
    return {"attacks": attacks, "described": asdict(described), "met": met(attacks, described)}


def serve(store: str) -> None:
    """Serve, and answer where."""
    args = arguments(store).patched({"access": "token", "num_replicas": 1})
    with on_cluster(), serving(args, name=NAME, port=free_port()) as url:
        answer(lambda _: {"url": url})


async def attacked(stage: Stage, name: str) -> dict[str, object]:
    """Attack while other clients ask, and return what they, the memory and the attackers saw."""
    calm = await asked(stage, asyncio.sleep(stage.config.before_s))
    pids = resident(stage.server.pid)
    memory_mb = [memory(pids)]
    question = {"attack": name, "how": stage.config.attacks.model_dump(mode="json")}
    attack = asyncio.create_task(asyncio.to_thread(stage.attackers.ask, question, timeout_s=ATTACK_S))
    looks = asyncio.create_task(look(pids, memory_mb))
    waits = await asked(stage, attack)
    looks.cancel()
    await asyncio.sleep(SETTLE_S)
    return {
        "p99_ms_before": calm.p99_ms(),
        "p99_ms": waits.p99_ms(),
        "longest_ms": 1000 * max([*waits.kept, *waits.new], default=float("inf")),
        "answered": len(waits.kept) + len(waits.new),
        "failed": waits.failures,
        "memory_mb_before": memory_mb[0],
        "memory_mb_most": max(memory_mb),
        "memory_mb_after": memory(pids),
        **attack.result(),
    }


async def asked(stage: Stage, end: Awaitable[object]) -> Waits:
    """Have other clients ask until the end of something."""
    waits, over = Waits(), asyncio.Event()
    kept = [httpx.AsyncHTTPTransport() for _ in range(stage.config.clients)]
    new = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
    async with asyncio.TaskGroup() as group:
        for transport in kept:
            group.create_task(client(stage.url, transport, waits.kept, waits.failures, over))
        group.create_task(client(stage.url, new, waits.new, waits.failures, over))
        await end
        over.set()
    return waits


async def client(
    url: str, transport: httpx.AsyncBaseTransport, waits: list[float], failures: Counter[str], over: asyncio.Event
) -> None:
    """Ask for an image at a time until all is over."""
    async with AsyncClient(url, token=TOKEN, transport=transport) as session:
        while not over.is_set():
            began_at = time.perf_counter()
            try:
                await session.generate()
                waits.append(time.perf_counter() - began_at)
            except RequestError as error:
                failures[str(error).replace(url, "")] += 1
            await asyncio.sleep(PAUSE_S)


async def look(pids: Sequence[int], memory_mb: list[float]) -> None:
    """Look at the memory until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        memory_mb.append(memory(pids))


def resident(server: int) -> list[int]:
    """Return the ids of HAProxy and the replicas."""
    words = commands(server)
    return [pid for pid in words if words[pid].startswith(PROCESSES["replica"]) or PROCESSES["HAProxy"] in words[pid]]


def memory(pids: Sequence[int]) -> float:
    """Return the resident memory of processes, in megabytes."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) for pid in pids)
    return sum(pages) * resource.getpagesize() / 1e6


def compared(python: Path, folder: Path, url: str, config: ServingAttacksConfig) -> Described:
    """Compare answers with what OpenAPI describes of them."""
    options = {
        "--url": url,
        "--header": f"Authorization: Bearer {TOKEN}",
        "--checks": CHECKS,
        "--max-examples": str(config.examples),
        "--seed": str(config.attacks.seed),
        "--generation-database": "none",
        "--warnings": "off",
    }
    command = [str(python.with_name("schemathesis")), "run", f"{url}/openapi.json", "--no-color"]
    command += [word for option in options.items() for word in option]
    (folder / "hooks.py").write_text(HOOKS, encoding="utf-8")  # without them it cannot send what is an NPY alone
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    cases = next((line.strip() for line in done.stdout.splitlines() if " generated" in line), "none")
    if done.returncode:
        console.print(done.stdout, done.stderr, markup=False, highlight=False)
    return Described(cases, differs=done.returncode != 0)


def met(attacks: Mapping[str, Mapping[str, Any]], described: Described) -> dict[str, bool]:
    """Return whether each target is met."""
    flaws = sum((Counter(each["flaws"]) for each in attacks.values()), Counter[str]())
    growth_mb = max(each["memory_mb_most"] - each["memory_mb_before"] for each in attacks.values())
    return {
        **{
            f"{name}_p99_at_most_doubles": all(
                p99_ms <= max(2 * attacks[name]["p99_ms_before"][kind], MOST_P99_MS)
                for kind, p99_ms in attacks[name]["p99_ms"].items()
            )
            for name in BEARABLE
        },
        "none_of_the_others_failed": not any(each["failed"] for each in attacks.values()),
        "memory_grows_by_at_most_100_mb": growth_mb <= MOST_GROWTH_MB,
        "no_5xx_but_503": not any(name.isdecimal() for name in flaws),
        "refusals_are_problem_documents": all(name.isdecimal() for name in flaws),
        "refused_within_1_s": attacks["overloaded"]["slowest_503_s"] <= MOST_REFUSAL_S,
        "as_described": not described.differs,
    }


def table(attacks: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a row for each attack."""
    shown = Table(
        "attack", "p99 before, ms", "p99, ms", "p99 new, ms", "longest, ms", "failed", "MB before", "MB most", "replies"
    )
    for name, each in attacks.items():
        before, during = each["p99_ms_before"], each["p99_ms"]
        row = (before["kept"], during["kept"], during["new"], each["longest_ms"], sum(each["failed"].values()))
        memory = each["memory_mb_before"], each["memory_mb_most"]
        replies = ", ".join(f"{count} {name}" for name, count in {**each["replies"], **each["flaws"]}.items())
        shown.add_row(name, *(f"{figure:,.0f}" for figure in (*row, *memory)), replies)
    return shown


BEARABLE = ("idle", "halves", "trickled", "largest")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", store]:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit())
            serve(store)
        case _:
            run(ServingAttacksConfig, main)
