"""Calls that are tried again until the client's time is over."""

import asyncio
import json
import time
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from tests.serving.exchanges import npy_of

from rayology.client import AT_ONCE, AsyncClient, Client, Passing, Patience
from rayology.errors import RequestError

HEADERS = {"X-Rayology-Version": "v", "X-Rayology-Nature": "synthetic", "Content-Type": "application/x-npy"}
PROBLEM = {"Content-Type": "application/problem+json"}


def drawn(asked: httpx.Request) -> httpx.Response:
    count = json.loads(asked.content)["count"]
    return httpx.Response(200, content=npy_of(np.zeros((count, 1, 8, 8), np.float32)), headers=HEADERS)


def busy(_: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"title": "Busy", "status": 503, "detail": "many wait"}, headers=PROBLEM)


def failing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(500, json={"title": "Failed", "status": 500, "detail": "it failed"}, headers=PROBLEM)


def proxy(_: httpx.Request) -> httpx.Response:
    return httpx.Response(502, text="<html>Bad Gateway")


def lost(asked: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=asked)


class Line:
    """Answers each request as the next of its handlers does, and the last one forever."""

    def __init__(self, *handlers: Callable[[httpx.Request], httpx.Response]) -> None:
        self.handlers, self.asked = handlers, list[httpx.Request]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.handlers[min(len(self.asked), len(self.handlers)) - 1](request)


def test_what_passes_is_tried_again_with_the_same_seed_and_id() -> None:
    line = Line(drawn, busy, proxy, lost, drawn)
    client = Client("http://model", transport=httpx.MockTransport(line))
    client.generate()

    client.generate(count=2)

    tries = line.asked[1:]
    assert len(tries) == 4
    assert len({each.content for each in tries}) == len({each.headers["x-request-id"] for each in tries}) == 1
    assert line.asked[0].content != tries[0].content


def test_both_clients_try_again() -> None:
    async def ask(line: Line) -> None:
        async with AsyncClient("http://model", transport=httpx.MockTransport(line)) as client:
            await client.generate()
            await client.generate()

    line = Line(drawn, lost, busy, drawn)
    asyncio.run(ask(line))

    assert len(line.asked) == 4


def test_a_client_gives_up_when_its_time_is_over_and_says_why() -> None:
    client = Client("http://model", timeout_s=0.3, transport=httpx.MockTransport(busy))
    began_at = time.monotonic()

    with pytest.raises(RequestError, match="503: many wait"):
        client.generate()

    assert time.monotonic() - began_at < 1


def test_a_server_that_says_when_to_come_again_is_not_asked_sooner() -> None:
    patience, busy_for_long = Patience(60), Passing("busy", retry_after_s=10)

    assert all(10 < patience.pause_after(busy_for_long) < 12.1 for _ in range(20))


def test_a_server_that_says_to_come_again_too_late_is_not_asked_again() -> None:
    def later(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            503, json={"title": "Busy", "status": 503, "detail": "full"}, headers={**PROBLEM, "Retry-After": "60"}
        )

    line = Line(later)

    with pytest.raises(RequestError, match="full"):
        Client("http://model", timeout_s=5, transport=httpx.MockTransport(line)).generate()

    assert len(line.asked) == 1


def lost_behind_the_proxy(_: httpx.Request) -> httpx.Response:
    return httpx.Response(502, json={"title": "Bad Gateway", "status": 502, "detail": "lost"}, headers=PROBLEM)


def test_what_our_proxy_says_was_lost_is_tried_again_from_the_first_call_on() -> None:
    line = Line(lost_behind_the_proxy, drawn)

    Client("http://model", transport=httpx.MockTransport(line)).generate()

    assert len(line.asked) == 2


def test_a_session_can_be_of_one_version() -> None:
    line = Line(drawn)
    client = Client("http://model", version="v1", transport=httpx.MockTransport(line))

    client.generate()

    assert line.asked[0].headers["x-rayology-version"] == "v1"


@pytest.mark.parametrize("handler", [failing, lost, proxy])
def test_what_will_not_pass_is_told_at_once(handler: Callable[[httpx.Request], httpx.Response]) -> None:
    line = Line(handler)

    with pytest.raises(RequestError):
        Client("http://model", transport=httpx.MockTransport(line)).generate()

    assert len(line.asked) == 1


def test_a_stream_is_of_one_version_one_seed_and_indices_that_follow() -> None:
    line = Line(drawn, busy, drawn)
    count = 2 * AT_ONCE + 3

    answers = list(Client("http://model", transport=httpx.MockTransport(line)).stream(count, first_index=5))

    asked = [json.loads(each.content) for each in line.asked]
    assert sum(len(answer.images) for answer in answers) == count
    assert [each["first_index"] for each in asked] == [5, 5 + AT_ONCE, 5 + AT_ONCE, 5 + 2 * AT_ONCE]
    assert len({each["seed"] for each in asked}) == 1
    assert [each.headers.get("x-rayology-version") for each in line.asked] == [None, "v", "v", "v"]


def test_both_clients_stream() -> None:
    async def ask() -> list[int]:
        async with AsyncClient("http://model", transport=httpx.MockTransport(drawn)) as client:
            return [len(answer.images) async for answer in client.stream(AT_ONCE + 1, seed=1)]

    assert asyncio.run(ask()) == [AT_ONCE, 1]
