import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayology.bundle import Bundle
from rayology.serving.guard import Admission, Guard
from rayology.serving.problems import Failsafe

PNG, NPY, JSON = "image/png", "application/x-npy", "application/json"
TOKEN = Admission(Admission.digest("secret"), max_body_bytes=1000, body_timeout_s=5)


def _array(answer: httpx.Response) -> NDArray[np.float32]:
    images: NDArray[np.float32] = np.load(BytesIO(answer.content), allow_pickle=False)
    return images


def _npy(array: NDArray[np.generic]) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _refused(answer: httpx.Response, status: int) -> str:
    """Return the detail of an answer that must be a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert problem["title"]
    assert "Traceback" not in answer.text
    return str(problem["detail"])


def _talk(app: ASGIApp, scope: Scope, *messages: Message) -> list[str]:
    """Give an application its messages one by one, and return the types of what it sends."""
    waiting, sent = list(messages), list[str]()

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(_call(app, scope, receive, send))  # run() wants a coroutine, not any awaitable
    return sent


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def test_images_come_in_modality_units_as_npy(vae: httpx.Client) -> None:
    answer = vae.post("/generate", json={"count": 3, "seed": 1, "class": "mass"}, headers={"Accept": NPY})

    images = _array(answer)
    assert images.dtype == np.float32
    assert images.shape == (3, 1, 16, 24)
    assert images.min() >= -1000
    assert images.max() <= 1000
    assert images.std() > 1


def test_a_png_says_that_it_is_synthetic_and_what_made_it(vae: httpx.Client) -> None:
    answer = vae.post("/generate", json={"seed": 5, "class": "mass"})

    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.size == (24, 16)
        expected = {"Synthetic": "YES", "Model": "20260101-000000-0123abcd", "Seed": "5", "Class": "mass"}
        assert picture.info == expected


def test_a_png_and_an_npy_of_a_seed_show_the_same(vae: httpx.Client) -> None:
    asked = {"count": 1, "seed": 3}

    png = vae.post("/generate", json=asked, headers={"Accept": PNG})
    npy = vae.post("/generate", json=asked, headers={"Accept": NPY})

    with Image.open(BytesIO(png.content)) as picture:
        shown = np.asarray(picture, np.float32) / 255 * 2000 - 1000
    assert np.abs(shown - _array(npy)[0, 0]).max() <= 1000 / 255 + 1e-3


def test_a_seed_that_was_drawn_is_told_and_can_be_sent_back(gan: httpx.Client) -> None:
    first = gan.post("/generate", json={"count": 2}, headers={"Accept": NPY})
    seed = int(first.headers["x-rayology-seed"])

    again = gan.post("/generate", json={"count": 2, "seed": seed}, headers={"Accept": NPY})

    assert again.content == first.content
    assert gan.post("/generate", json={"count": 2}).headers["x-rayology-seed"] != str(seed)


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/nothing"])
def test_every_answer_names_its_version(gan: httpx.Client, path: str) -> None:
    assert gan.get(path).headers["x-rayology-version"] == "20260101-000000-0123abcd"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", PNG),
        ("image/*", PNG),
        ("application/*", NPY),
        (f"{NPY}, {PNG}", NPY),
        (f"{NPY};q=0.2, {PNG};q=0.3", PNG),
        (f"text/html, {PNG};q=0, */*;q=0.1", PNG),
        (f"text/html, {NPY};q=high, {PNG};q=0.1", PNG),
    ],
)
def test_accept_chooses_the_form(gan: httpx.Client, accept: str, expected: str) -> None:
    assert gan.post("/generate", json={}, headers={"Accept": accept}).headers["content-type"] == expected


def test_a_form_that_there_is_not_is_refused(gan: httpx.Client) -> None:
    detail = _refused(gan.post("/generate", json={}, headers={"Accept": "text/html"}), 406)

    assert PNG in detail
    assert NPY in detail


def test_a_png_and_an_npy_are_reconstructed(vae: httpx.Client, image_file: Path) -> None:
    picture = image_file.read_bytes()
    slice_hu = np.zeros((30, 40), np.float32)

    for content_type, body in ((PNG, picture), (f"{NPY}; charset=utf-8", _npy(slice_hu))):
        headers = {"Content-Type": content_type, "Accept": NPY}
        answer = vae.post("/reconstruct", params={"class": "mass"}, content=body, headers=headers)

        assert _array(answer).shape == (1, 1, 16, 24)
        assert "x-rayology-seed" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"count": -1}', 422, "count: Input should be greater than or equal to 1"),
        (b'{"count": 10000000}', 422, "ask for 1 to 20"),
        (b'{"count": 1.5}', 422, "count"),
        (b'{"seed": -1}', 422, "seed"),
        (b'{"seed": 9223372036854775808}', 422, "seed"),
        (b'{"class": "cat"}', 422, "none, nodule, mass"),
        (b'{"number": 3}', 422, "number: Extra inputs"),
        (b'{"count": 1', 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[1]", 422, "no JSON object"),
        (b"", 422, "no JSON object"),
        (b" " * 200_000, 413, "at most 100000 bytes"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_to_send(
    vae: httpx.Client, body: bytes, status: int, said: str
) -> None:
    answer = vae.post("/generate", content=body, headers={"Content-Type": JSON})

    assert said in _refused(answer, status)


def test_json_sent_as_a_form_is_refused_with_the_type_to_send(gan: httpx.Client) -> None:
    answer = gan.post("/generate", content=b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert JSON in _refused(answer, 422)


def test_a_model_without_classes_refuses_one(gan: httpx.Client) -> None:
    assert "leave the class out" in _refused(gan.post("/generate", json={"class": "mass"}), 422)


@pytest.mark.parametrize(
    ("content_type", "body", "status", "said"),
    [
        (PNG, b"hello", 422, "no PNG"),
        (NPY, b"hello", 422, "no NPY"),
        (NPY, _npy(np.zeros((4, 0))).replace(b"(4, 0), }" + b" " * 21, b"(4611686018427387904, 4, 0), }"), 422, "axis"),
        ("text/plain", b"hello", 415, "image/png or application/x-npy"),
        ("", b"hello", 415, "image/png or application/x-npy"),
    ],
)
def test_a_body_that_is_no_image_is_refused(
    vae: httpx.Client, content_type: str, body: bytes, status: int, said: str
) -> None:
    answer = vae.post("/reconstruct?class=mass", content=body, headers={"Content-Type": content_type})

    assert said in _refused(answer, status)


def test_a_conditional_model_asks_for_the_class_of_an_image(vae: httpx.Client) -> None:
    answer = vae.post("/reconstruct", content=_npy(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "?class=" in _refused(answer, 422)


def test_a_model_that_only_generates_has_no_reconstruct(gan: httpx.Client) -> None:
    answer = gan.post("/reconstruct", content=_npy(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "no such endpoint" in _refused(answer, 404)


def test_another_method_is_refused(gan: httpx.Client) -> None:
    answer = gan.get("/generate")

    assert "GET is not allowed" in _refused(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("sent", ["", "Bearer wrong", "Basic secret", "Bearer", "secret", "Bearer größe"])
def test_a_missing_or_wrong_token_is_refused(
    gan_bundle: Bundle,
    make_app: Callable[[Bundle, Admission], FastAPI],
    open_session: Callable[[FastAPI], httpx.Client],
    sent: str,
) -> None:
    gan = open_session(make_app(gan_bundle, TOKEN))

    for method, path in (("GET", "/"), ("POST", "/generate"), ("GET", "/nothing")):
        answer = gan.request(
            method, path, headers=httpx.Headers({"Authorization": sent} if sent else {}, encoding="utf-8")
        )

        assert "Bearer TOKEN" in _refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_right_token_opens_and_health_and_docs_need_none(
    gan_bundle: Bundle,
    make_app: Callable[[Bundle, Admission], FastAPI],
    open_session: Callable[[FastAPI], httpx.Client],
) -> None:
    gan = open_session(make_app(gan_bundle, TOKEN))

    answer = gan.post("/generate", json={}, headers={"Authorization": "bearer secret"})

    assert answer.status_code == 200
    assert [gan.get(path).status_code for path in ("/healthz", "/docs", "/openapi.json")] == [200, 200, 200]


def test_only_who_has_the_token_learns_which_version_answers(
    gan_bundle: Bundle,
    make_app: Callable[[Bundle, Admission], FastAPI],
    open_session: Callable[[FastAPI], httpx.Client],
) -> None:
    gan, version = open_session(make_app(gan_bundle, TOKEN)), "20260101-000000-0123abcd"

    for path in ("/healthz", "/docs", "/openapi.json", "/", "/nothing"):
        told = gan.get(path)
        assert version not in f"{told.text} {told.headers}"

        told = gan.get(path, headers={"Authorization": "Bearer secret"})
        assert told.headers["x-rayology-version"] == version


def test_the_guard_keeps_no_token() -> None:
    assert "secret" not in repr(TOKEN)


def _stream(app: FastAPI, body: AsyncIterator[bytes]) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://model") as session:
            return await session.post("/reconstruct?class=mass", content=body, headers={"Content-Type": NPY})

    return asyncio.run(send())


def test_a_body_that_turns_out_too_large_is_cut_off_while_it_comes(vae_app: FastAPI) -> None:
    num_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_sent
        while True:
            num_sent += 1
            yield b"0" * 10_000

    assert "at most 100000 bytes" in _refused(_stream(vae_app, endless()), 413)
    assert num_sent <= 12


@pytest.mark.slow
def test_a_body_that_trickles_is_cut_off(vae_bundle: Bundle, make_app: Callable[[Bundle, Admission], FastAPI]) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"0"
            await asyncio.sleep(0.05)

    impatient = make_app(vae_bundle, Admission(None, max_body_bytes=1000, body_timeout_s=0.2))

    assert "too slowly" in _refused(_stream(impatient, trickle()), 408)


def test_a_failure_of_the_server_tells_the_client_and_the_log_nothing_of_the_request(
    gan_app: FastAPI, gan: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(**asked: object) -> None:
        raise ValueError(f"cannot draw {asked}")

    monkeypatch.setattr(gan_app.state.generator, "generate", fail)  # nothing real fails on purpose

    with caplog.at_level(logging.DEBUG, "rayology"):
        answer = gan.post("/generate", json={"seed": 4711})

    _refused(answer, 500)
    assert "4711" not in answer.text
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text


def test_a_client_that_goes_away_while_sending_is_no_failure(
    vae_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    scope = {"type": "http", "method": "POST", "path": "/reconstruct", "query_string": b"", "headers": []}

    assert _talk(vae_app, scope, {"type": "http.disconnect"}) == []
    assert not caplog.text


def test_a_failure_in_the_midst_of_an_answer_does_not_begin_another() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    assert _talk(Failsafe(app), {"type": "http"}) == ["http.response.start"]


def test_the_server_can_start_and_stop_the_application(gan_app: FastAPI) -> None:
    sent = _talk(gan_app, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_the_guard_passes_on_what_comes_after_the_body() -> None:
    seen: list[str] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen.extend([(await receive())["type"] for _ in range(2)])

    guard = Guard(app, Admission(None, max_body_bytes=10, body_timeout_s=1))
    _talk(guard, {"type": "http", "path": "/", "headers": []}, {"type": "http.request"}, {"type": "http.disconnect"})

    assert seen == ["http.request", "http.disconnect"]


def test_the_docs_show_only_what_the_model_can_do(vae: httpx.Client, gan: httpx.Client) -> None:
    assert set(vae.get("/openapi.json").json()["paths"]) == {"/", "/healthz", "/generate", "/reconstruct"}
    assert set(gan.get("/openapi.json").json()["paths"]) == {"/", "/healthz", "/generate"}
