"""Measure what a request for images costs our server and others, round by round.

python jobs/benchmarks/serving.py

One generator with random weights stands behind every server, on one thread. Clients on persistent connections ask again
as soon as they are answered. CPU is that of all processes of a server, which include HAProxy and Ray's own, but not the
clients; what a server computes when nobody asks is part of it, and told too. The compute limit is the network alone, in
full batches. An empty handler on our path, behind the same HAProxy and Ray, shows what these cost; what it and the
compute limit cost together, at our rate, is the floor below which ours cannot come.
"""

import asyncio
import contextlib
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from peers import OURS, Peer, PeerError, Process, cpu_seconds, started
from pydantic import PositiveFloat, PositiveInt
from rich.table import Table
from serving_peer import BATCH_SIZE, CLASSES, HIGH, HOST, LATENTS, LOW, NPY, PNG
from torch import Tensor, nn

from rayology.bundle import Provenance, write_bundle
from rayology.config import Config
from rayology.experiment import Experiment
from rayology.image import ImageSpec, ValueRange, from_model_range
from rayology.job import run
from rayology.models import Gan, GanConfig
from rayology.models.backbones import ResNetConfig
from rayology.progress import console
from rayology.serving.predictor import precision_here
from rayology.store import Store

SCRIPT = Path(__file__).parent / "serving_peer.py"
IMAGE = ImageSpec(size=(64, 64), values=ValueRange(low=LOW, high=HIGH), classes=tuple("ab"[:CLASSES]))
MODEL = GanConfig(generator=ResNetConfig(width=32, depth=1), latents=LATENTS)  # of 1.08 million parameters
LIMIT, FLOAT32, BFLOAT16 = "compute limit", "FastAPI, float32", "FastAPI, bfloat16"
EMPTY = "empty handler"
SUBJECTS = {
    **dict.fromkeys((OURS.name, EMPTY, FLOAT32, BFLOAT16), OURS),
    "LitServe": Peer("litserve", ("numpy", "torch", "litserve")),
    "Mosec": Peer("mosec", ("numpy", "torch", "mosec")),
    "BentoML": Peer("bentoml", ("numpy", "torch", "bentoml")),
}
ABLE = (OURS.name, FLOAT32, BFLOAT16)  # to answer several images, and PNG
PATHS = {**dict.fromkeys((OURS.name, EMPTY), "/models/bench/generate"), "Mosec": "/inference", "BentoML": "/generate"}
SAME_FOR_ALL = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
START_S, SETTLE_S, IDLE_S = 120.0, 5.0, 2.0
FEW = 8  # clients fill every batch, where each asks for several images

Results = dict[str, dict[str, dict[str, float]]]
"""Figures of each server under each load."""


class ServingConfig(Config):
    """What to count."""

    clients: tuple[PositiveInt, ...] = (8,)
    """Connections that ask at once, besides 1 and 32, which targets are about."""
    count: PositiveInt = 16
    """Images of a request for several."""
    rounds: PositiveInt = 3
    """Times that each server is asked in turn."""
    seconds: PositiveFloat = 1.0
    """Length of each time, if computing were all that it took."""
    quick: bool = False
    """One short round of ours and FastAPI."""


@dataclass(frozen=True)
class Load:
    """How a server is asked."""

    clients: int
    count: int = 1
    media_type: str = NPY

    def __str__(self) -> str:
        """Return what tables say."""
        return f"{self.clients} x {self.count} {self.media_type.rpartition('/')[2].removeprefix('x-')}"


ONE, MOST, PNGS = Load(1), Load(32), Load(32, media_type=PNG)


@dataclass(frozen=True)
class Sample:
    """What one time of asking came to, in seconds."""

    wall_s: float
    cpu_s: float
    latencies_s: Sequence[float]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: Process
    port: int
    path: str

    def asked(self, load: Load, num_requests: int) -> Sample:
        """Ask so often, and count until all is answered."""
        computed_s, began_at = cpu_seconds(self.process.pid), time.perf_counter()
        latencies_s = asyncio.run(self._latencies(load, num_requests))
        return Sample(time.perf_counter() - began_at, cpu_seconds(self.process.pid) - computed_s, latencies_s)

    def idle(self) -> float:
        """Return the CPU seconds of a second without requests."""
        computed_s = cpu_seconds(self.process.pid)
        time.sleep(IDLE_S)
        return (cpu_seconds(self.process.pid) - computed_s) / IDLE_S

    async def _latencies(self, load: Load, num_requests: int) -> list[float]:
        seeds, latencies = iter(range(0, load.count * num_requests, load.count)), list[float]()

        async def client() -> None:
            reader, writer = await asyncio.open_connection(HOST, self.port)
            for seed in seeds:  # which all clients share
                began_at = time.perf_counter()
                writer.write(request(self.path, load, seed))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                content = await reader.readexactly(int(length or 0))
                latencies.append(time.perf_counter() - began_at)
                least, begins = (100, b"\x89PNG") if load.media_type == PNG else (load.count * 2**14, b"\x93NUMPY")
                if b" 200" not in head[:13] or len(content) < least or not content.startswith(begins):
                    raise PeerError(f"{self.process.name}: answered {head[:30]!r} with {content[:100]!r}")
            writer.close()

        async with asyncio.timeout(60):
            await asyncio.gather(*(client() for _ in range(load.clients)))
        return latencies


def request(path: str, load: Load, seed: int) -> bytes:
    """Return a request for images, in HTTP/1.1."""
    body = json.dumps({"seed": seed, "count": load.count})
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: {load.media_type}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def main(config: ServingConfig) -> Mapping[str, object]:
    """Return what a request costs each server under each load, and whether the targets are met."""
    if config.quick:
        config = ServingConfig(clients=(), rounds=1, seconds=0.5, quick=True)
    missing = {} if precision_here() == "bfloat16" else {BFLOAT16: "this processor does not multiply bfloat16"}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as running:
        write(Path(scratch))
        alone = running.enter_context(started(OURS, SCRIPT, LIMIT, str(Path(scratch) / precision_here()), "0"))
        servers = dict[str, Server]()
        for name in (*ABLE, EMPTY) if config.quick else SUBJECTS:
            if name not in missing:
                with excused(name, missing):
                    servers[name] = running.enter_context(serving(name, Path(scratch)))
                    console.print(f"{name} answers.", highlight=False)
        time.sleep(SETTLE_S)  # Ray's dashboard goes on starting
        idle = {name: server.idle() for name, server in servers.items()}
        results = {str(load): measured(config, load, servers, alone, missing) for load in loads(config)}
    console.print(table(results))
    for name, reason in missing.items():
        console.print(f"{name} is missing: {reason}", style="yellow", markup=False, highlight=False)
    floors = {str(load): floor(results[str(load)], idle) for load in (ONE, MOST) if EMPTY in results[str(load)]}
    of_floor = {f"reaches_90_%_of_the_floor_at_{load}": share >= 0.9 for load, (_, share) in floors.items()}
    for load, (least_ms, share) in floors.items():
        console.print(f"{load}: at least {least_ms:.2f} ms of CPU, of which ours reaches {share:.0%}", highlight=False)
    console.print("CPU ms in a second without requests:", {name: round(1000 * each) for name, each in idle.items()})
    return {
        "loads": results,
        "idle_cpu": idle,
        "missing": missing,
        "floors": floors,
        "met": {**met(results, config.count), **of_floor},
    }


def loads(config: ServingConfig) -> list[Load]:
    """Return every load."""
    of_one = [Load(clients) for clients in sorted({ONE.clients, *config.clients, MOST.clients})]
    several = [Load(each.clients, config.count) for each in of_one if each.clients <= FEW]
    return [*of_one, *several, PNGS]


def measured(
    config: ServingConfig, load: Load, servers: Mapping[str, Server], alone: Process, missing: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Put every server under a load that is able to bear it, round by round, and return its figures."""
    samples, limits_s = dict[str, list[Sample]](), [limit_s(alone)]
    num_requests = max(round(config.seconds / limits_s[0] / load.count), 2 * load.clients)
    for _ in range(config.rounds):
        for name, server in servers.items():
            if name not in missing and (name in ABLE or load == Load(load.clients)):
                with excused(name, missing):
                    samples.setdefault(name, []).append(server.asked(load, num_requests))
        limits_s.append(limit_s(alone))
    return {name: figures(each, load.count * statistics.median(limits_s)) for name, each in samples.items()}


def write(folder: Path) -> None:
    """Put a network with random weights into a store, and next to it as TorchScript in each precision."""
    torch.manual_seed(0)
    model = MODEL.build(IMAGE)
    for weight in model.parameters():  # an untrained network draws a flat image
        nn.init.normal_(weight, std=0.05)
    origin = Provenance(dataset="none", note="", seed=0, steps=1, created_at=datetime.now(UTC), packages={})
    experiment = Experiment(model=MODEL)
    bundle = write_bundle(
        folder / "bundle", experiment=experiment, model=model, metrics={"copies": 0.0}, provenance=origin
    )
    store = Store(str(folder / "store"))
    store.set_champion("bench", store.publish(bundle, "bench"))
    for precision in ("float32", "bfloat16"):
        noise = torch.zeros(BATCH_SIZE, LATENTS, dtype=getattr(torch, precision))
        network = Network(model).eval().to(noise.dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stubs lack it
        with torch.inference_mode():
            torch.jit.trace(network, (noise, torch.zeros(BATCH_SIZE, dtype=torch.int64))).save(folder / precision)


class Network(nn.Module):
    """A generator as a function from noise and labels to images in modality units."""

    def __init__(self, model: Gan) -> None:
        super().__init__()
        self.model = model

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return images in float32."""
        return from_model_range(self.model.sample({"latent": noise}, labels).float(), IMAGE.values)


@contextlib.contextmanager
def serving(name: str, folder: Path) -> Iterator[Server]:
    """Run a server until the block ends, from its first answers on.

    Raises:
        PeerError: it dies, or gives none in time.
    """
    precision = {FLOAT32: "float32", BFLOAT16: "bfloat16"}.get(name, precision_here())
    with socket.create_server((HOST, 0)) as free:
        port = int(free.getsockname()[1])
    words = (name, str(folder / precision), str(port))
    with started(SUBJECTS[name], SCRIPT, *words, variables=SAME_FOR_ALL) as process:
        server, deadline = Server(process, port, PATHS.get(name, "/")), time.monotonic() + START_S
        while True:
            try:
                server.asked(MOST, 4 * MOST.clients)
                break
            except (OSError, EOFError, PeerError) as error:
                process.ask({})  # fails if the server is dead, and waits a moment if it lives
                if time.monotonic() > deadline:
                    raise PeerError(f"{name}: no answer in {START_S:g} s: {error}") from None
        yield server


@contextlib.contextmanager
def excused(name: str, missing: dict[str, str]) -> Iterator[None]:
    """Go on without a server that fails, unless it is ours."""
    try:
        yield
    except (PeerError, OSError, EOFError) as error:
        if name == OURS.name:
            raise
        missing[name] = str(error) or type(error).__name__


def limit_s(alone: Process) -> float:
    """Return the CPU seconds of an image in full batches."""
    return float(str(alone.ask({"batches": 2})["cpu_seconds"])) / (2 * BATCH_SIZE)


def figures(samples: Sequence[Sample], limit_s: float) -> dict[str, float]:
    """Return the medians of the rounds, and the percentiles of all latencies."""
    cpu_s, wall_s = np.median([(s.cpu_s, s.wall_s) for s in samples], axis=0) / len(samples[0].latencies_s)
    p50_s, p99_s = np.percentile(np.concatenate([sample.latencies_s for sample in samples]), (50, 99)).tolist()
    return {
        "requests/s": float(1 / wall_s),
        "p50 ms": 1000 * p50_s,
        "p99 ms": 1000 * p99_s,
        "CPU ms": float(1000 * cpu_s),
        "share of limit": float(limit_s / cpu_s),
    }


def floor(by: Mapping[str, Mapping[str, float]], idle: Mapping[str, float]) -> tuple[float, float]:
    """Return the least CPU ms that our path allows a request, and the share of ours that this is.

    An empty handler is asked more often, so that less of what is computed when nobody asks falls on each request.
    """
    ours, empty = by[OURS.name], by[EMPTY]
    limit_ms = ours["share of limit"] * ours["CPU ms"]
    waited_ms = 1000 * idle[OURS.name] * max(0.0, 1 / ours["requests/s"] - 1 / empty["requests/s"])
    least_ms = limit_ms + empty["CPU ms"] + waited_ms
    return least_ms, least_ms / ours["CPU ms"]


def met(results: Results, count: int) -> dict[str, bool]:
    """Return whether each target is met for which there are figures."""
    one, most, png = results[str(ONE)], results[str(MOST)], results[str(PNGS)][OURS.name]
    several = next(by[OURS.name] for load, by in reversed(results.items()) if f" x {count} " in load)
    ours, first = most[OURS.name], one[OURS.name]
    cpu, fastest = ({key: min(by[name][key] for name in ABLE[1:] if name in by) for key in ours} for by in (most, one))
    others = {
        f"cpu_1.5_times_below_{name.lower()}": most[name]["CPU ms"] for name in ("LitServe", "Mosec") if name in most
    }
    return {
        "cpu_at_most_fastapi": ours["CPU ms"] <= cpu["CPU ms"],
        **{target: 1.5 * ours["CPU ms"] <= other for target, other in others.items()},
        "share_of_limit": ours["share of limit"] >= 0.6,
        f"share_of_limit_at_{count}_images": several["share of limit"] >= 0.9,
        "one_client_cpu": first["CPU ms"] <= 1.3 * fastest["CPU ms"],
        "one_client_p50": first["p50 ms"] <= 1.3 * fastest["p50 ms"],
        "png_costs_at_most_150_us": png["CPU ms"] - ours["CPU ms"] <= 0.15,
    }


def table(results: Results) -> Table:
    """Return a row for each server under each load."""
    columns = next(iter(results[str(ONE)].values()))
    shown = Table("load", "server", *columns)
    for load, by in results.items():
        for name, each in by.items():
            shown.add_row(load, name, *(f"{figure:,.2f}" for figure in each.values()))
        shown.add_section()
    return shown


if __name__ == "__main__":
    run(ServingConfig, main)
