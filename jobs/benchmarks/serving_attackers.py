"""Attackers of a server: one process that holds connections and sends requests as it is asked to.

It stands apart from the benchmark, so that it imports neither torch nor Ray, and starts soon.
"""

import asyncio
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from io import BytesIO
from itertools import cycle

import httpx
import numpy as np
from peers import answer
from PIL import Image
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from rayology.config import Config
from rayology.serving.schemas import Problem

__all__ = ["ATTACKS", "HOST", "TOKEN", "Attacks", "flaw", "mutated"]

HOST, TOKEN = "127.0.0.1", "attacks"
JSON, NPY, PNG = "application/json", "application/x-npy", "image/png"
PROBLEM = "application/problem+json"
OTHERS = (b"null", b'"7"', b"[]", b"-1", b"1e99", b"{}", b"NaN", b"9223372036854775808", b"\xff")  # for a word
HEADER_BYTES = 128  # of an NPY, and at least that of a PNG
OWN_FILES = 200  # of this process, besides connections
TRICKLE_S = 1.0  # between two bytes
SENDERS = 4  # of bodies, at a time
WARM_UPS = 8  # requests from which the capacity is taken
TIMEOUT_S = 60.0


class Attacks(Config):
    """How hard to attack."""

    idle: PositiveInt = 10_000
    """Connections that say nothing; as many of them as a process may open files."""
    slow: PositiveInt = 500
    """Requests that are sent by halves, and byte by byte."""
    seconds: PositiveFloat = 25.0
    """Length of an attack with connections or with the largest bodies, in seconds."""
    overload: PositiveFloat = 5.0
    """Requests that are sent, over those that can be answered."""
    overload_s: PositiveFloat = 60.0
    """Length of the overload, in seconds."""
    bodies: PositiveInt = 10_000
    """Damaged bodies."""
    seed: NonNegativeInt = 0
    """Seed of the damage."""


@dataclass
class Replies:
    """What attackers are answered."""

    statuses: Counter[str] = field(default_factory=Counter)
    flaws: Counter[str] = field(default_factory=Counter)
    open: int = 0
    """Connections that attackers held at once at most."""
    slowest_s: float = 0.0
    """The longest time until a 503."""

    def add(self, status: int, headers: Mapping[str, str], body: bytes, *, seconds: float = 0.0) -> None:
        """Count a reply."""
        self.statuses[str(status)] += 1
        if found := flaw(status, headers, body):
            self.flaws[found] += 1
        if status == 503:
            self.slowest_s = max(self.slowest_s, seconds)


def attack(url: httpx.URL, question: Mapping[str, object]) -> dict[str, object]:
    """Attack once, and return what came of it; only say that this process runs if no attack is named."""
    if "attack" not in question:
        return {}
    replies = Replies()
    asyncio.run(ATTACKS[str(question["attack"])](url, Attacks.model_validate(question["how"]), replies))
    return {
        "open": replies.open,
        "replies": replies.statuses,
        "flaws": replies.flaws,
        "slowest_503_s": replies.slowest_s,
    }


async def nothing(_: httpx.URL, config: Attacks, __: Replies) -> None:
    """Let the others alone, to tell how much their figures vary by themselves."""
    await asyncio.sleep(config.seconds)


async def idle(url: httpx.URL, config: Attacks, replies: Replies) -> None:
    """Open connections and say nothing, again whenever they are closed."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    await held_open(url, config, replies, [(b"", b"")] * min(config.idle, most - OWN_FILES))


async def halves(url: httpx.URL, config: Attacks, replies: Replies) -> None:
    """Send halves of requests: of small ones, which HAProxy holds, and of larger ones, which come to a replica."""
    await held_open(url, config, replies, [(first, b"") for first, _ in requests(url, config.slow)])


async def trickled(url: httpx.URL, config: Attacks, replies: Replies) -> None:
    """Send the other halves byte by byte."""
    await held_open(url, config, replies, requests(url, config.slow))


def requests(url: httpx.URL, count: int) -> list[tuple[bytes, bytes]]:
    """Return the halves of small and larger requests."""
    kinds = [("generate", JSON, b" " * 200), ("reconstruct", NPY, bytes(100_000))]
    return [
        (
            f"POST {url.path}/{verb} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body[: len(body) // 2],
            body[len(body) // 2 :],
        )
        for _, (verb, media_type, body) in zip(range(count), cycle(kinds), strict=False)
    ]


async def held_open(url: httpx.URL, config: Attacks, replies: Replies, halves: list[tuple[bytes, bytes]]) -> None:
    """Hold so many connections open, on each of which the first half is sent at once and the other byte by byte."""
    number_open = 0

    async def hold(first: bytes, rest: bytes) -> None:
        nonlocal number_open
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, url.port)
            except OSError as error:
                replies.statuses[type(error).__name__] += 1
                await asyncio.sleep(1)
                continue
            number_open += 1
            replies.open = max(replies.open, number_open)
            sender = asyncio.create_task(trickle(writer, first, rest))
            try:
                replies.add(*await reply(reader))
            except asyncio.IncompleteReadError:
                replies.statuses["closed"] += 1
            except OSError as error:
                replies.statuses[type(error).__name__] += 1
            finally:
                number_open -= 1
                sender.cancel()
                writer.close()

    with suppress(TimeoutError):
        async with asyncio.timeout(config.seconds), asyncio.TaskGroup() as group:
            for first, rest in halves:
                group.create_task(hold(first, rest))


async def trickle(writer: asyncio.StreamWriter, first: bytes, rest: bytes) -> None:
    """Send the first bytes at once, and the others one by one."""
    with suppress(OSError):
        writer.write(first)
        for byte in rest:
            await asyncio.sleep(TRICKLE_S)
            writer.write(bytes([byte]))
            await writer.drain()


async def reply(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str], bytes]:
    """Read a reply."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def largest(url: httpx.URL, config: Attacks, replies: Replies) -> None:
    """Send 12 MB of fields that are not known, with their length and without."""
    body = b"{%s}" % b",".join(b'"%08d":0' % number for number in range(925_000))
    until = time.monotonic() + config.seconds

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 2**16):
            yield body[start : start + 2**16]

    async def send(attacker: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            await sent(attacker, replies, "generate", JSON, body)
            await sent(attacker, replies, "generate", JSON, chunks())

    async with session(url) as attacker, asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(send(attacker))


async def overloaded(url: httpx.URL, config: Attacks, replies: Replies) -> None:
    """Ask for the most images, so many times as often as they can be answered."""
    body = b'{"count": 64}'
    async with session(url) as attacker, asyncio.TaskGroup() as group:
        began_at = time.monotonic()
        for _ in range(WARM_UPS):
            await sent(attacker, Replies(), "generate", JSON, body)
        pause_s = (time.monotonic() - began_at) / WARM_UPS / config.overload
        began_at = time.monotonic()
        for number in range(round(config.overload_s / pause_s)):
            await asyncio.sleep(began_at + number * pause_s - time.monotonic())
            group.create_task(sent(attacker, replies, "generate", JSON, body))


async def damaged(url: httpx.URL, config: Attacks, replies: Replies) -> None:
    """Send damaged bodies."""
    draw, numbers = np.random.default_rng(config.seed), iter(range(config.bodies))

    async def send(attacker: httpx.AsyncClient) -> None:
        for _ in numbers:  # which all senders share
            await sent(attacker, replies, *mutated(draw))

    async with session(url) as attacker, asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(send(attacker))


@asynccontextmanager
async def session(url: httpx.URL) -> AsyncIterator[httpx.AsyncClient]:
    """Open a session of attackers that have the token."""
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=TIMEOUT_S) as opened:
        yield opened


async def sent(
    attacker: httpx.AsyncClient, replies: Replies, verb: str, media_type: str, body: bytes | AsyncIterator[bytes]
) -> None:
    """Send a body, and count the reply."""
    began_at = time.perf_counter()
    try:
        response = await attacker.post(f"/{verb}", content=body, headers={"Content-Type": media_type, "Accept": NPY})
    except httpx.HTTPError as error:
        replies.statuses[type(error).__name__] += 1
        return
    seconds = time.perf_counter() - began_at
    replies.add(response.status_code, response.headers, response.content, seconds=seconds)


@cache
def whole() -> Sequence[tuple[str, str, bytes]]:
    """Return requests before they are damaged: the verb, the media type and the body."""
    png, npy, levels = BytesIO(), BytesIO(), np.arange(1024, dtype=np.uint8).reshape(32, 32)
    Image.fromarray(levels).save(png, "png")
    np.save(npy, np.linspace(-1000, 1000, 1024, dtype=np.float32).reshape(32, 32))
    asked = b'{"count": 2, "seed": 7, "first_index": 3, "class": null, "exact": false}'
    return ("generate", JSON, asked), ("reconstruct", NPY, npy.getvalue()), ("reconstruct", PNG, png.getvalue())


def mutated(draw: np.random.Generator) -> tuple[str, str, bytes]:
    """Return a damaged request."""
    requests = whole()
    verb, media_type, body = requests[int(draw.integers(len(requests)))]
    start, end = sorted(draw.integers(len(body), size=2).tolist())
    match draw.integers(5):
        case 0:
            flipped = np.frombuffer(body, np.uint8).copy()
            places = draw.integers(min(len(body), HEADER_BYTES), size=draw.integers(1, 8))
            flipped[places] = draw.integers(256, size=len(places))
            body = flipped.tobytes()
        case 1:
            body = body[:end]
        case 2:  # fields are named twice
            body = body[:start] + body[start:end] + body[start:end] + body[end:]
        case 3:
            words = list(re.finditer(rb"\w+", body[:HEADER_BYTES]))
            word, other = words[int(draw.integers(len(words)))], OTHERS[int(draw.integers(len(OTHERS)))]
            body = body[: word.start()] + other + body[word.end() :]
        case _:
            media_type = requests[int(draw.integers(len(requests)))][1]
            body = body[:start] + draw.bytes(4) + body[end:]
    return verb, media_type, body


def flaw(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Return what is wrong with an answer to an attacker; empty if nothing is."""
    if status < HTTPStatus.BAD_REQUEST:
        return ""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE:
        return f"{status}"
    try:
        is_problem = Problem.model_validate_json(body).status == status and headers.get("content-type") == PROBLEM
    except ValidationError:
        is_problem = False
    if not is_problem:
        return f"{status} without a problem document"
    is_patient = status != HTTPStatus.SERVICE_UNAVAILABLE or headers.get("retry-after", "").isdecimal()
    return "" if is_patient else f"{status} without Retry-After"


ATTACKS: Mapping[str, Callable[[httpx.URL, Attacks, Replies], Coroutine[None, None, None]]] = {
    "nothing": nothing,
    "idle": idle,
    "halves": halves,
    "trickled": trickled,
    "largest": largest,
    "overloaded": overloaded,
    "damaged": damaged,
}

if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    answer(partial(attack, httpx.URL(sys.argv[1])))
