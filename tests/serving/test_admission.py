"""Who is let in, and how much may be sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from tests.serving.exchanges import NPY, refused

from rayology.bundle import Bundle
from rayology.serving.admission import Admission
from rayology.serving.rest import RestApp

TOKEN = Admission(Admission.digest("secret"), max_body_bytes=1000, body_timeout_s=5)


@pytest.mark.parametrize("sent", ["", "Bearer wrong", "Basic secret", "Bearer", "secret", "Bearer größe"])
def test_a_missing_or_wrong_token_is_refused(
    gan_bundle: Bundle,
    make_app: Callable[[Bundle, Admission], RestApp],
    open_session: Callable[[RestApp], httpx.Client],
    sent: str,
) -> None:
    gan = open_session(make_app(gan_bundle, TOKEN))

    for method, path in (("GET", "/"), ("POST", "/generate"), ("GET", "/nothing")):
        answer = gan.request(
            method, path, headers=httpx.Headers({"Authorization": sent} if sent else {}, encoding="utf-8")
        )

        assert "Bearer TOKEN" in refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_right_token_opens_and_health_and_docs_need_none(
    gan_bundle: Bundle,
    make_app: Callable[[Bundle, Admission], RestApp],
    open_session: Callable[[RestApp], httpx.Client],
) -> None:
    gan = open_session(make_app(gan_bundle, TOKEN))

    answer = gan.post("/generate", json={}, headers={"Authorization": "bearer secret"})

    assert answer.status_code == 200
    assert [gan.get(path).status_code for path in ("/healthz", "/docs", "/openapi.json")] == [200, 200, 200]


def test_only_who_has_the_token_learns_which_version_answers(
    gan_bundle: Bundle,
    make_app: Callable[[Bundle, Admission], RestApp],
    open_session: Callable[[RestApp], httpx.Client],
) -> None:
    gan, version = open_session(make_app(gan_bundle, TOKEN)), "20260101-000000-0123abcd"

    for path in ("/healthz", "/docs", "/openapi.json", "/", "/nothing"):
        told = gan.get(path)
        assert version not in f"{told.text} {told.headers}"

        told = gan.get(path, headers={"Authorization": "Bearer secret"})
        assert told.headers["x-rayology-version"] == version


def test_an_admission_keeps_no_token() -> None:
    assert "secret" not in repr(TOKEN)


def _stream(app: RestApp, body: AsyncIterator[bytes]) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://model") as session:
            return await session.post("/reconstruct?class=mass", content=body, headers={"Content-Type": NPY})

    return asyncio.run(send())


def test_a_body_that_turns_out_too_large_is_cut_off_while_it_comes(vae_app: RestApp) -> None:
    num_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_sent
        while True:
            num_sent += 1
            yield b"0" * 10_000

    assert "at most 100000 bytes" in refused(_stream(vae_app, endless()), 413)
    assert num_sent <= 42


def test_a_body_that_is_too_large_is_read_to_its_end_so_that_its_sender_sees_the_refusal(vae_app: RestApp) -> None:
    sent = list[int]()

    async def large() -> AsyncIterator[bytes]:
        for number in range(20):
            sent.append(number)
            yield b"0" * 10_000

    assert "at most 100000 bytes" in refused(_stream(vae_app, large()), 413)
    assert len(sent) == 20
    assert vae_app._held_bytes == 0


@pytest.mark.slow
def test_a_body_that_trickles_is_cut_off(vae_bundle: Bundle, make_app: Callable[[Bundle, Admission], RestApp]) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"0"
            await asyncio.sleep(0.05)

    impatient = make_app(vae_bundle, Admission(None, max_body_bytes=1000, body_timeout_s=0.2))

    assert "too slowly" in refused(_stream(impatient, trickle()), 408)


def test_bodies_take_so_much_memory_at_once_and_no_more(
    vae_app: RestApp, open_session: Callable[[RestApp], httpx.Client], image_file: Path
) -> None:
    vae, sent = open_session(vae_app), {"content": image_file.read_bytes(), "headers": {"Content-Type": "image/png"}}
    vae_app._most_held = len(image_file.read_bytes()) - 1

    busy = vae.post("/reconstruct?class=mass", **sent)  # type: ignore[arg-type] # as httpx takes them
    vae_app._most_held += 1
    answer = vae.post("/reconstruct?class=mass", **sent)  # type: ignore[arg-type] # as above

    assert "too much is being sent at once" in refused(busy, 503)
    assert busy.headers["retry-after"] == "1"
    assert answer.status_code == 200
    assert vae_app._held_bytes == 0
