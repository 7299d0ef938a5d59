import asyncio
import subprocess
import sys

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from rayology.client import AsyncClient, Client
from rayology.errors import RequestError


@pytest.fixture
def client(vae_transport: httpx.BaseTransport) -> Client:
    return Client("http://model", token="any", transport=vae_transport)


def test_a_client_reads_the_card(client: Client) -> None:
    with client:
        assert client.card().capabilities == ("generate", "reconstruct")


def test_a_client_gets_arrays_and_pictures(client: Client) -> None:
    images = client.generate(count=2, seed=1, class_name="mass")

    assert images.dtype == np.float32
    assert images.shape == (2, 1, 16, 24)
    assert client.generate_png(count=2, seed=1).startswith(b"\x89PNG")
    assert client.reconstruct(images, class_name="mass").shape == images.shape
    assert client.reconstruct(images[0, 0], class_name="mass").shape == (1, 1, 16, 24)


def test_both_clients_get_the_same(client: Client, vae_app: FastAPI) -> None:
    async def ask() -> None:
        async with AsyncClient("http://model", transport=httpx.ASGITransport(vae_app)) as awaited:
            assert await awaited.card() == client_card
            images = await awaited.generate(count=2, seed=1)
            assert np.array_equal(images, client_images)
            assert await awaited.generate_png(seed=1) == client_png
            assert (await awaited.reconstruct(images, class_name="none")).shape == images.shape
            with pytest.raises(RequestError, match="no such class"):
                await awaited.generate(class_name="cat")

    client_card, client_images, client_png = (
        client.card(),
        client.generate(count=2, seed=1),
        client.generate_png(seed=1),
    )

    asyncio.run(ask())


@pytest.mark.parametrize("count", [-1, 10_000_000])
def test_a_refusal_says_what_the_server_said(client: Client, count: int) -> None:
    with pytest.raises(RequestError, match=r"422: count.*(greater than or equal to 1|ask for 1 to 20)"):
        client.generate(count=count)


def test_a_server_that_is_none_of_ours_is_named() -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>Bad Gateway"))

    with pytest.raises(RequestError, match=r"502.*is a Rayology model served there"):
        Client("http://model", transport=other).card()


def test_a_server_that_is_not_up_is_named() -> None:
    with pytest.raises(RequestError, match=r"127.0.0.1:9.*no answer"):
        Client("http://127.0.0.1:9").card()

    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:9") as awaited:
            await awaited.card()

    with pytest.raises(RequestError, match="no answer"):
        asyncio.run(ask())


@pytest.mark.slow
def test_importing_the_client_imports_neither_torch_nor_ray() -> None:
    code = "import sys, rayology.client; sys.exit(bool({'torch', 'ray', 'fastapi'} & set(sys.modules)))"

    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "platform"})
