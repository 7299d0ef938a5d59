import asyncio
from io import BytesIO

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from rayology.client import AsyncClient, Client
from rayology.errors import RequestError
from rayology.serving.rest import RestApp


@pytest.fixture
def client(vae_transport: httpx.BaseTransport) -> Client:
    return Client("http://model", token="any", transport=vae_transport)


def test_a_client_reads_the_card(client: Client) -> None:
    with client:
        assert client.card().verbs == {
            "generate": "synthetic",
            "interpolate": "synthetic",
            "reconstruct": "derived",
            "encode": "derived",
            "decode": "derived",
        }


def test_a_client_gets_answers_and_pictures(client: Client) -> None:
    drawn = client.generate(count=2, seed=1, first_index=3, class_name="mass")
    kept = client.reconstruct(drawn.images, class_name="mass")

    assert drawn.images.dtype == np.float32
    assert drawn.images.shape == kept.images.shape == (2, 1, 16, 24)
    assert (drawn.classes, drawn.seed, drawn.first_index, drawn.nature) == (("mass", "mass"), 1, 3, "synthetic")
    assert (kept.classes, kept.seed, kept.first_index, kept.nature) == (("mass", "mass"), None, None, "derived")
    assert drawn.version == kept.version == client.card().version
    assert client.generate_png(count=2, seed=1).startswith(b"\x89PNG")
    assert client.reconstruct(drawn.images[0, 0], class_name="mass").images.shape == (1, 1, 16, 24)


@pytest.mark.parametrize("transport", ["vae_transport", "volume_transport"])
def test_what_is_decoded_of_latents_is_the_reconstruction(transport: str, request: pytest.FixtureRequest) -> None:
    client = Client("http://model", transport=request.getfixturevalue(transport))
    images = client.generate(count=4, seed=1).images

    latents = client.encode(images, class_name="mass")
    decoded = client.decode(latents.images, class_name="mass")

    assert latents.images.shape == (4, *(client.card().latent or ()))
    assert (latents.nature, latents.classes, latents.seed) == ("derived", ("mass",) * 4, None)
    assert (decoded.nature, decoded.classes, decoded.seed) == ("derived", ("mass",) * 4, None)
    assert np.array_equal(decoded.images, client.reconstruct(images, class_name="mass").images)
    assert np.array_equal(client.decode(latents.images[3], class_name="mass").images, decoded.images[3:4])


def test_an_image_can_be_asked_for_again_by_what_the_answer_says(client: Client) -> None:
    answer = client.generate(count=4)
    assert answer.seed is not None
    assert answer.first_index == 0

    again = client.generate(seed=answer.seed, first_index=2)

    assert np.array_equal(again.images[0], answer.images[2])
    assert again.classes[0] == answer.classes[2]


def test_a_client_gets_volumes_and_sends_them(volume_transport: httpx.BaseTransport) -> None:
    client = Client("http://model", transport=volume_transport)

    volumes = client.generate(count=2, seed=1, class_name="mass").images

    assert volumes.shape == (2, 1, *client.card().image.size) == (2, 1, 16, 16, 24)
    assert client.reconstruct(volumes, class_name="mass").images.shape == volumes.shape
    assert client.reconstruct(volumes[0, 0], class_name="mass").images.shape == (1, 1, 16, 16, 24)
    with pytest.raises(RequestError, match=r"422: the volumes have 16x16x16 voxels, the model takes 16x16x24"):
        client.reconstruct(volumes[..., :16], class_name="mass")


def test_both_clients_get_the_same(client: Client, vae_app: RestApp) -> None:
    async def ask() -> None:
        async with AsyncClient("http://model", transport=httpx.ASGITransport(vae_app)) as awaited:
            assert await awaited.card() == client_card
            drawn = await awaited.generate(count=2, seed=1, first_index=3)
            assert np.array_equal(drawn.images, client_drawn.images)
            assert drawn.headers == client_drawn.headers
            assert await awaited.generate_png(seed=1, first_index=3) == client_png
            kept = await awaited.reconstruct(drawn.images, class_name="none")
            assert (kept.images.shape, kept.nature) == (drawn.images.shape, "derived")
            latents = (await awaited.encode(drawn.images, class_name="none")).images
            assert np.array_equal((await awaited.decode(latents, class_name="none")).images, kept.images)
            with pytest.raises(RequestError, match="no such class"):
                await awaited.generate(class_name="cat")

    client_card, client_drawn, client_png = (
        client.card(),
        client.generate(count=2, seed=1, first_index=3),
        client.generate_png(seed=1, first_index=3),
    )

    asyncio.run(ask())


@pytest.mark.parametrize("count", [-1, 10_000_000])
def test_a_refusal_says_what_the_server_said(client: Client, count: int) -> None:
    with pytest.raises(RequestError, match=r"422: count.*(at least 1|ask for 1 to 20)"):
        client.generate(count=count)


def test_a_server_that_is_none_of_ours_is_named() -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>Bad Gateway"))

    with pytest.raises(RequestError, match=r"502.*is a Rayology model served there"):
        Client("http://model", transport=other).card()


def _npy(array: NDArray[np.generic]) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html", b"<html>Welcome"),
        ("", b""),
        ("application/json", b'{"status": "ok"}'),
        ("application/json", b"{"),
        ("application/x-npy", b""),
        ("application/x-npy", b"PK\x03\x04"),
        ("application/x-npy", _npy(np.zeros((1, 1, 8, 8), np.float32))[:-1]),
        ("application/x-npy", _npy(np.array([{}], object))),
        ("application/x-npy", _npy(np.zeros((8, 8), np.float32))),
        ("application/x-npy", _npy(np.zeros((1, 1, 8, 8)))),
        ("application/x-npy", _npy(np.zeros((1, 1, 8, 8), np.float32))),
    ],
)
def test_an_answer_that_is_none_of_ours_is_named(media_type: str, body: bytes) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"Content-Type": media_type})

    async def ask() -> None:
        async with AsyncClient("http://model", transport=httpx.MockTransport(answer)) as awaited:
            for call in (awaited.card, awaited.generate, awaited.generate_png):
                with pytest.raises(RequestError, match=r"200.*is a Rayology model served there"):
                    await call()

    client = Client("http://model", transport=httpx.MockTransport(answer))
    calls = (
        client.card,
        client.generate,
        client.generate_png,
        lambda: client.reconstruct(np.zeros((8, 8), np.float32)),
    )
    for call in calls:
        with pytest.raises(RequestError, match=r"200.*is a Rayology model served there"):
            call()
    asyncio.run(ask())


def test_an_answer_that_cannot_be_unpacked_is_named() -> None:
    other = httpx.MockTransport(
        lambda _: httpx.Response(200, stream=httpx.ByteStream(b"plain"), headers={"Content-Encoding": "gzip"})
    )

    with pytest.raises(RequestError, match="DecodingError"):
        Client("http://model", transport=other).card()


def test_an_address_without_a_scheme_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RequestError, match=r"127.0.0.1:9/: write the address of the model with http:// or https://"):
        Client("127.0.0.1:9").card()


def test_a_server_that_is_not_up_is_named() -> None:
    with pytest.raises(RequestError, match=r"127.0.0.1:9.*no answer"):
        Client("http://127.0.0.1:9").card()

    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:9") as awaited:
            await awaited.card()

    with pytest.raises(RequestError, match="no answer"):
        asyncio.run(ask())
