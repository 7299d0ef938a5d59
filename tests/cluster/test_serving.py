import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import torch

from rayology.bundle import Provenance, write_bundle
from rayology.client import AsyncClient, Client
from rayology.errors import RequestError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import VaeConfig
from rayology.serving.app import ServeArgs, run
from rayology.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

IMAGE = ImageSpec(size=(32, 32), classes=("none", "nodule"))


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("serving")
    store = Store(str(folder / "store"))
    store.set_champion("tiny", published(store, folder / "first", seed=0))
    return store


def published(store: Store, folder: Path, *, seed: int) -> str:
    torch.manual_seed(seed)
    model = VaeConfig().build(IMAGE)
    for weight in model.parameters():  # an untrained network draws a flat image
        torch.nn.init.normal_(weight, std=0.15)
    origin = Provenance(dataset="none", note="", seed=seed, steps=1, created_at=datetime.now(UTC), packages={})
    bundle = write_bundle(folder, experiment=Experiment(), model=model, metrics={"copies": 0.0}, provenance=origin)
    return store.publish(bundle, "tiny")


@pytest.fixture(scope="module")
def url(ray_cluster: None, champion: Store) -> Iterator[str]:  # noqa: ARG001 - it must run
    """Serve the champion, and see to it that nothing is left behind."""
    before = _haproxies()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYOLOGY_TOKEN", "secret")
        args = ServeArgs(store=champion.uri, max_count=32, max_body_mb=1)
        with run(args, name="tiny", port=_free_port()) as served:
            assert _haproxies() - before
            yield served

    assert not _haproxies() - before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served}/healthz")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _haproxies() -> set[str]:
    """Return the ids of the HAProxy processes on this machine."""
    commands = Path("/proc").glob("[0-9]*/cmdline")
    return {command.parent.name for command in commands if _is_haproxy(command)}


def _is_haproxy(command: Path) -> bool:
    try:
        return command.read_bytes().split(b"\0")[0].endswith(b"haproxy")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_champion_answers_over_http(url: str, champion: Store) -> None:
    with Client(url, token="secret") as client:
        card = client.card()
        drawn = client.generate(count=5, seed=1, class_name="nodule")
        kept = client.reconstruct(drawn.images, class_name="nodule")

        assert card.version == champion.champion("tiny")
        assert drawn.images.shape == kept.images.shape == (5, 1, 32, 32)
        assert (drawn.nature, kept.nature) == ("synthetic", "derived")
        assert client.generate_png(count=5, seed=1).startswith(b"\x89PNG")


def test_a_seed_gives_the_same_bytes_alone_and_beside_sixteen_others(url: str) -> None:
    async def ask(seeds: list[int]) -> list[bytes]:
        async with AsyncClient(url, token="secret") as client:
            return await asyncio.gather(*(client.generate_png(count=3, seed=seed) for seed in seeds))

    alone = [asyncio.run(ask([seed]))[0] for seed in range(4)]
    crowded = asyncio.run(ask([*range(4), *range(16)]))

    assert crowded[:4] == crowded[4:8] == alone
    assert len(set(crowded)) == 16


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_missing_or_wrong_token_is_refused(url: str, token: str) -> None:
    with Client(url, token=token) as client, pytest.raises(RequestError, match=r"401: the token is missing or wrong"):
        client.generate()


def test_health_and_docs_lie_below_the_name_of_the_model(url: str) -> None:
    assert httpx.get(f"{url}/healthz").json()["status"] == "ok"
    assert "/models/tiny/openapi.json" in httpx.get(f"{url}/docs").text


@pytest.mark.parametrize("count", [-1, 33, 10_000_000])
def test_a_count_outside_the_limits_is_a_problem_document(url: str, count: int) -> None:
    answer = httpx.post(f"{url}/generate", json={"count": count}, headers={"Authorization": "Bearer secret"})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("count")


def test_a_body_over_the_limit_is_refused_whether_it_is_announced_or_not(url: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"0" * 100_000 for _ in range(15))

    for body in (b"0" * 1_500_000, chunks()):
        headers = {"Authorization": "Bearer secret", "Content-Type": "image/png"}
        answer = httpx.post(f"{url}/reconstruct?class=none", content=body, headers=headers)

        assert answer.status_code == 413
        assert "at most 1000000 bytes" in answer.json()["detail"]


def test_a_new_champion_answers_within_seconds_and_no_request_fails(url: str, champion: Store, tmp_path: Path) -> None:
    before, asked = champion.champion("tiny"), {"count": 1, "seed": 1}
    new = published(champion, tmp_path / "new", seed=1)
    images: dict[str, set[bytes]] = {before: set(), new: set()}

    champion.set_champion("tiny", new)
    deadline = time.monotonic() + 60
    while len(images[new]) == 0 or time.monotonic() < deadline - 55:
        assert time.monotonic() < deadline
        answer = httpx.post(f"{url}/generate", json=asked, headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200
        images[answer.headers["x-rayology-version"]].add(answer.content)

    assert all(len(different) <= 1 for different in images.values()), "a version gave the image of another"
    assert images[before] != images[new]


def test_an_application_that_cannot_be_deployed_ends_the_server_with_what_is_wrong_as_its_last_line() -> None:
    before = _haproxies()
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    application = json.dumps([{"import_path": "json:nothing"}])
    flags = ["--applications", application, "--http-options.port", str(_free_port())]

    ended = subprocess.run(
        [sys.executable, "-m", "rayology", "serve", *flags],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert ended.returncode == 2, ended.stderr[-2000:]
    why = "default cannot be deployed: AttributeError: module 'json' has no attribute 'nothing'"
    assert ended.stderr.splitlines()[-1] == f"ServingError: applications: {why}"
    deadline = time.monotonic() + 10
    while _haproxies() - before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
