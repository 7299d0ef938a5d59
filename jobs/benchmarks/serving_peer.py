"""Servers of one network, each in its library's own environment, and the network alone (see serving.py and peers.py).

The arguments are a subject, the network as TorchScript, and a port. Each server answers POST with images drawn from the
seed of a JSON body, on one thread, in batches of what waits. It runs in a process below the script's; questions are
answered while it lives, and the question to the network alone is how many batches to compute.
"""

# ruff: noqa: PLC0415 - an environment has only one of the libraries

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peers import answer

BATCH_SIZE, LATENTS, CLASSES, LOW, HIGH = 32, 64, 2, -1000.0, 1000.0  # of the network
NPY, PNG = "application/x-npy", "image/png"
WAIT_S = 0.005  # for a batch to fill, where a library has only timers
HOST = "127.0.0.1"

Array = NDArray[np.float32]


class Generator:
    """The network as a function of seeds."""

    def __init__(self, file: str) -> None:
        torch.set_num_threads(1)
        self._network = torch.jit.load(file)
        self._dtype = next(self._network.parameters()).dtype
        for _ in range(3):
            self(range(BATCH_SIZE))  # TorchScript measures, and then compiles

    def __call__(self, seeds: Sequence[int]) -> Array:
        """Return an image for each seed."""
        noise = np.stack([np.random.default_rng(seed).standard_normal(LATENTS, np.float32) for seed in seeds])
        labels = torch.tensor([seed % CLASSES for seed in seeds])
        with torch.inference_mode():
            return self._network(torch.from_numpy(noise).to(self._dtype), labels).numpy()


def npy(images: Array) -> bytes:
    """Return an array as an NPY file."""
    file = io.BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


def png(image: Array) -> bytes:
    """Return an image as a PNG."""
    from PIL import Image

    file, greys = io.BytesIO(), np.clip((image - LOW) * (255 / (HIGH - LOW)), 0, 255)
    Image.fromarray(greys.astype(np.uint8)).save(file, format="png")
    return file.getvalue()


def rayology(network: str, port: int) -> None:
    """Serve the bundle that lies next to the network."""
    from rayology.serving.app import ServeArgs, run
    from rayology.session import on_cluster

    store = str(Path(network).parent / "store")
    args = ServeArgs(store=store, access="open", precision="auto", batch_size=BATCH_SIZE)
    with on_cluster(), run(args, name="bench", port=port):
        signal.pause()


def empty_handler(network: str, port: int) -> None:
    """Serve on the same path as ours an answer of the same size that costs nothing to make."""
    from ray import serve
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import ASGIApp

    from rayology.serving.app import hosted
    from rayology.session import on_cluster

    del network
    content = npy(np.zeros((1, 1, 64, 64), np.float32))

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=NPY)

    class Empty:
        def __serve_build_asgi_app__(self) -> ASGIApp:
            return Starlette(routes=[Route("/{path:path}", endpoint, methods=["POST"])])

    deployment = serve.deployment(
        serve.ingress()(Empty), max_ongoing_requests=2048, logging_config={"enable_access_log": False}
    )
    with on_cluster(), hosted(deployment.bind(), name="bench", port=port):
        signal.pause()


def fastapi(network: str, port: int) -> None:
    """Serve as one writes it by hand: what waits when a batch is done is the next one, in a thread."""
    import uvicorn
    from fastapi import FastAPI, Header, Response
    from pydantic import BaseModel

    app, generator, thread = FastAPI(), Generator(network), ThreadPoolExecutor(1)
    waiting, tasks = list[tuple[range, asyncio.Future[Array]]](), set[asyncio.Task[None]]()

    class Asked(BaseModel):
        seed: int
        count: int = 1

    async def compute() -> None:
        while waiting:
            batch = [waiting.pop(0)]
            while waiting and sum(len(seeds) for seeds, _ in batch) + len(waiting[0][0]) <= BATCH_SIZE:
                batch.append(waiting.pop(0))
            every = [seed for seeds, _ in batch for seed in seeds]
            images = await asyncio.get_running_loop().run_in_executor(thread, generator, every)
            for seeds, future in batch:
                future.set_result(images[: len(seeds)])
                images = images[len(seeds) :]

    @app.post("/")
    async def generate(asked: Asked, accept: str = Header(NPY)) -> Response:  # noqa: FAST002 - mypy would miss a type
        future = asyncio.get_running_loop().create_future()
        waiting.append((range(asked.seed, asked.seed + asked.count), future))
        if not tasks:
            tasks.add(task := asyncio.create_task(compute()))
            task.add_done_callback(tasks.discard)
        images = await future
        return Response(npy(images) if accept == NPY else png(images[0, 0]), media_type=accept)

    uvicorn.run(app, host=HOST, port=port, log_level="warning", access_log=False)


if find_spec("litserve"):
    import litserve
    from starlette.responses import Response as StarletteResponse

    class _LitGenerator(litserve.LitAPI):  # type: ignore[misc] # the benchmark's own environment lacks it
        """What LitServe asks for."""

        def setup(self, device: str) -> None:
            del device
            self.generator = Generator(sys.argv[2])

        def decode_request(self, request: Mapping[str, int]) -> int:
            return request["seed"]

        def batch(self, inputs: Sequence[int]) -> Sequence[int]:
            return inputs

        def predict(self, seeds: Sequence[int]) -> Array:
            return self.generator(seeds)

        def unbatch(self, output: Array) -> Sequence[Array]:
            return [image[None] for image in output]

        def encode_response(self, output: Array) -> StarletteResponse:
            return StarletteResponse(npy(output), media_type=NPY)


def lit_serve(network: str, port: int) -> None:
    """Serve with LitServe, over its faster queues."""
    del network
    api = _LitGenerator(max_batch_size=BATCH_SIZE, batch_timeout=WAIT_S, api_path="/")
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(host=HOST, port=port, generate_client_file=False, log_level="warning")


if find_spec("mosec"):
    import mosec

    class _MosecGenerator(mosec.Worker):  # type: ignore[misc] # the benchmark's own environment lacks it
        """What Mosec asks for."""

        resp_mime_type = NPY

        def __init__(self) -> None:
            super().__init__()
            self.generator = Generator(os.environ["NETWORK"])

        def forward(self, requests: Sequence[Mapping[str, int]]) -> Sequence[Array]:
            return [image[None] for image in self.generator([request["seed"] for request in requests])]

        def serialize(self, data: Array) -> bytes:
            return npy(data)


def mosec_server(network: str, port: int) -> None:
    """Serve with Mosec, which reads its options from the command line."""
    sys.argv[1:] = ["--address", HOST, "--port", str(port), "--log-level", "warning"]
    server = mosec.Server()
    server.append_worker(
        _MosecGenerator, max_batch_size=BATCH_SIZE, max_wait_time=round(1000 * WAIT_S), env=[{"NETWORK": network}]
    )
    server.run()


if find_spec("bentoml"):
    import bentoml
    from aiohttp import ClientConnectionError
    from starlette.responses import Response as BentoResponse

    @bentoml.service(workers=1)
    class BentoGenerator:
        """What computes, in a process of its own, as BentoML batches what waits."""

        def __init__(self) -> None:
            self.generator = Generator(os.environ["NETWORK"])

        @bentoml.api(batchable=True, max_batch_size=BATCH_SIZE)  # type: ignore[untyped-decorator] # as LitServe
        def draw(self, seeds: list[int]) -> Array:
            """Return an image for each seed."""
            return self.generator(seeds)

    @bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 64})
    class BentoServer:
        """What answers, for BentoML itself answers arrays as JSON."""

        generator = bentoml.depends(BentoGenerator)

        @bentoml.api  # type: ignore[untyped-decorator] # as above
        async def generate(self, seed: int, count: int = 1) -> bytes:
            """Return an image as NPY."""
            while True:
                try:
                    images = await self.generator.to_async.draw(list(range(seed, seed + count)))
                except ClientConnectionError:  # under load BentoML loses connections of its own
                    await asyncio.sleep(WAIT_S)
                    continue
                return BentoResponse(npy(images), media_type=NPY)  # type: ignore[return-value] # BentoML takes it


def bento_ml(network: str, port: int) -> None:
    """Serve with BentoML, which imports its services in processes of its own."""
    os.environ.update(NETWORK=network, BENTOML_DO_NOT_TRACK="True", PYTHONPATH=str(Path(__file__).parent))
    server = f"{Path(__file__).stem}:BentoServer"
    command = ["bentoml", "serve", server, "--host", HOST, "--port", str(port), "--quiet"]
    os.execv(Path(sys.executable).with_name("bentoml"), command)  # noqa: S606 - our own command


SERVERS: Mapping[str, Callable[[str, int], None]] = {
    "rayology": rayology,
    "empty handler": empty_handler,
    "FastAPI, float32": fastapi,
    "FastAPI, bfloat16": fastapi,
    "LitServe": lit_serve,
    "Mosec": mosec_server,
    "BentoML": bento_ml,
}


def alone(network: str) -> None:
    """Answer how many CPU seconds full batches take without a server."""
    generator = Generator(network)

    def figures(question: Mapping[str, object]) -> dict[str, float]:
        began_at = time.process_time()
        for _ in range(int(str(question["batches"]))):
            generator(range(BATCH_SIZE))
        return {"cpu_seconds": time.process_time() - began_at}

    answer(figures)


def watched() -> None:
    """Start a server, and answer while it lives; end with it, so that its last words are quoted."""
    command = [sys.executable, __file__, *sys.argv[1:], "server"]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)  # noqa: S603

    def lives(_: Mapping[str, object]) -> dict[str, object]:
        with contextlib.suppress(subprocess.TimeoutExpired):
            sys.exit(server.wait(timeout=0.3))
        return {}

    try:
        answer(lives)
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    match sys.argv[1:]:
        case ["compute limit", file, _]:
            alone(file)
        case [_, _, _]:
            watched()
        case [subject, file, listens, _]:
            SERVERS[subject](file, int(listens))
