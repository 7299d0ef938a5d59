"""Call a served model, from plain or from asynchronous code; imports neither torch nor Ray."""

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from io import BytesIO
from tokenize import TokenError
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import httpx
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import ValidationError

from rayology.errors import RequestError
from rayology.serving.answer import VERSION, Answer
from rayology.serving.schemas import Card, Problem

__all__ = ["Answer", "AsyncClient", "Client"]

Array = NDArray[np.float32]

Classes = str | Sequence[str] | None

PNG, NPY, JSON = "image/png", "application/x-npy", "application/json"
TIMEOUT_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
AT_ONCE = 16  # images of a request of a stream
PASSING = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
LOST = (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
LEAST_AXES = 2  # of an answer: images and channels, if latents are vectors
FOREIGN = "is a Rayology model served there?"


@dataclass(frozen=True)
class Call:
    """A request, before a session sends it."""

    line: tuple[str, str]
    """Method and path with its query."""
    accept: str
    """Media type that the answer must have."""
    content_type: str = ""
    body: bytes = b""
    version: str = ""
    """Version that must answer; empty for the one that the server chooses."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers that describe the body and the wanted answer."""
        own = {"Content-Type": self.content_type, VERSION: self.version}
        return {"Accept": self.accept} | {name: value for name, value in own.items() if value}


CARD = Call(("GET", "/"), JSON)


class Passing(RequestError):
    """No answer, or one that says to come again: the same call may be answered in a moment."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Patience:
    """How long a call is tried again, with pauses that grow."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline, self._pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_S

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return max(self._deadline - time.monotonic(), 0.001)

    def pause_after(self, failure: Passing) -> float:
        """Return how long to wait before the next try, in seconds; raise the failure if there is no time for one."""
        pause_s = failure.retry_after_s + self._pause_s * random.uniform(0.5, 1)  # noqa: S311 - to spread clients
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        if pause_s >= self.left_s:
            raise failure
        return pause_s


class Client:
    """One session with one model; use it in a ``with`` block, and for many calls.

    Every method raises RequestError, with what the server said or, if no server of ours answered, with the address.

    Args:
        url: the address of the model, such as ``http://127.0.0.1:8000/models/demo``.
        token: the bearer token that the server asks for; empty for a server that asks for none.
        version: the version that is to answer; empty for the champion or its canary, as the server chooses.
        timeout_s: seconds in which a call is tried again if the server is busy or, once it has answered in this
            session, cannot be reached; each part of an answer must come within what is left of them. The client draws
            the seeds, so that each try asks for the same images.
        transport: what carries the requests; by default the network.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        version: str = "",
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._session = httpx.Client(base_url=url, headers=_own(token, version), transport=transport)
        self._timeout_s, self._has_answered = timeout_s, False

    def card(self) -> Card:
        """Return what the model is and can do."""
        return _card(self._send(CARD))

    def generate(
        self,
        *,
        count: int = 1,
        seed: int | None = None,
        first_index: int = 0,
        class_name: Classes = None,
        exact: bool = False,
    ) -> Answer:
        """Return new images, in modality units, with what it takes to ask for each of them again.

        Image ``i`` of the answer has the index ``first_index + i``, and is the same however many are asked for. Without
        a seed one is drawn, without a class the class of each image; of several the images have one in turn. Exact ones
        are computed as the bundle's own samples were, which takes longer.
        """
        return _answer(self._send(_generate(NPY, count, seed, first_index, class_name, exact=exact)))

    def generate_png(
        self, *, count: int = 1, seed: int | None = None, first_index: int = 0, class_name: Classes = None
    ) -> bytes:
        """Return new images as one PNG, several as a sheet; a volume is shown as its three middle planes."""
        return self._send(_generate(PNG, count, seed, first_index, class_name)).content

    def interpolate(
        self,
        begin: tuple[int, int],
        end: tuple[int, int],
        *,
        count: int = 8,
        class_name: str | None = None,
    ) -> Answer:
        """Return images on the way from one that is drawn to another, each given by its seed and index."""
        return _answer(self._send(_interpolate(begin, end, count, class_name)))

    def reconstruct(self, images: Array, *, class_name: str | None = None) -> Answer:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width).

        The answer is derived from the images and shows the same people. Volumes have slices before height, and must
        have exactly the size that the card names.
        """
        return _answer(self._send(_sent("reconstruct", images, class_name)))

    def encode(self, images: Array, *, class_name: str | None = None) -> Answer:
        """Return the latents of images given as to ``reconstruct``, as ``decode`` takes them."""
        return _answer(self._send(_sent("encode", images, class_name)))

    def decode(self, latents: Array, *, class_name: str | None = None) -> Answer:
        """Return the images of latents given as (count, channels, *size), or without count, as the card's ``latent``.

        They count as derived, for the latents may be those of a person's image.
        """
        return _answer(self._send(_sent("decode", latents, class_name)))

    def stream(
        self, count: int, *, seed: int | None = None, first_index: int = 0, class_name: Classes = None
    ) -> Iterator[Answer]:
        """Yield many new images, a few at a time, all of the version that gives the first of them."""
        version, seed = "", _drawn_seed(seed)
        for part in _parts(count, first_index):
            call = replace(_generate(NPY, len(part), seed, part.start, class_name), version=version)
            answer = _answer(self._send(call))
            version = answer.version
            yield answer

    def _send(self, call: Call) -> httpx.Response:
        patience, headers = Patience(self._timeout_s), call.headers
        while True:
            try:
                response = self._session.request(
                    *call.line, headers=headers, content=call.body, timeout=patience.left_s
                )
                checked = _checked(response, call.accept, has_answered=self._has_answered)
            except httpx.RequestError as error:
                failure = _unanswered(self._session.base_url, error, has_answered=self._has_answered)
            except Passing as error:
                failure = error
            else:
                self._has_answered = True
                return checked
            time.sleep(patience.pause_after(failure))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()


class AsyncClient:
    """Like ``Client``, with methods to await; use it in an ``async with`` block."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        version: str = "",
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._session = httpx.AsyncClient(base_url=url, headers=_own(token, version), transport=transport)
        self._timeout_s, self._has_answered = timeout_s, False

    async def card(self) -> Card:
        """Return what the model is and can do."""
        return _card(await self._send(CARD))

    async def generate(
        self,
        *,
        count: int = 1,
        seed: int | None = None,
        first_index: int = 0,
        class_name: Classes = None,
        exact: bool = False,
    ) -> Answer:
        """Return new images, in modality units, with what it takes to ask for each of them again.

        Image ``i`` of the answer has the index ``first_index + i``, and is the same however many are asked for. Without
        a seed one is drawn, without a class the class of each image; of several the images have one in turn. Exact ones
        are computed as the bundle's own samples were, which takes longer.
        """
        return _answer(await self._send(_generate(NPY, count, seed, first_index, class_name, exact=exact)))

    async def generate_png(
        self, *, count: int = 1, seed: int | None = None, first_index: int = 0, class_name: Classes = None
    ) -> bytes:
        """Return new images as one PNG, several as a sheet; a volume is shown as its three middle planes."""
        return (await self._send(_generate(PNG, count, seed, first_index, class_name))).content

    async def interpolate(
        self,
        begin: tuple[int, int],
        end: tuple[int, int],
        *,
        count: int = 8,
        class_name: str | None = None,
    ) -> Answer:
        """Return images on the way from one that is drawn to another, each given by its seed and index."""
        return _answer(await self._send(_interpolate(begin, end, count, class_name)))

    async def reconstruct(self, images: Array, *, class_name: str | None = None) -> Answer:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width).

        The answer is derived from the images and shows the same people. Volumes have slices before height, and must
        have exactly the size that the card names.
        """
        return _answer(await self._send(_sent("reconstruct", images, class_name)))

    async def encode(self, images: Array, *, class_name: str | None = None) -> Answer:
        """Return the latents of images given as to ``reconstruct``, as ``decode`` takes them."""
        return _answer(await self._send(_sent("encode", images, class_name)))

    async def decode(self, latents: Array, *, class_name: str | None = None) -> Answer:
        """Return the images of latents given as (count, channels, *size), or without count, as the card's ``latent``.

        They count as derived, for the latents may be those of a person's image.
        """
        return _answer(await self._send(_sent("decode", latents, class_name)))

    async def stream(
        self, count: int, *, seed: int | None = None, first_index: int = 0, class_name: Classes = None
    ) -> AsyncIterator[Answer]:
        """Yield many new images, a few at a time, all of the version that gives the first of them."""
        version, seed = "", _drawn_seed(seed)
        for part in _parts(count, first_index):
            call = replace(_generate(NPY, len(part), seed, part.start, class_name), version=version)
            answer = _answer(await self._send(call))
            version = answer.version
            yield answer

    async def _send(self, call: Call) -> httpx.Response:
        patience, headers = Patience(self._timeout_s), call.headers
        while True:
            try:
                response = await self._session.request(
                    *call.line, headers=headers, content=call.body, timeout=patience.left_s
                )
                checked = _checked(response, call.accept, has_answered=self._has_answered)
            except httpx.RequestError as error:
                failure = _unanswered(self._session.base_url, error, has_answered=self._has_answered)
            except Passing as error:
                failure = error
            else:
                self._has_answered = True
                return checked
            await asyncio.sleep(patience.pause_after(failure))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.aclose()


def _own(token: str, version: str) -> dict[str, str]:
    """Return the headers of a session: while there is a canary, its id has all calls go to the same version."""
    own = {"Authorization": f"Bearer {token}" if token else "", VERSION: version}
    return {"X-Request-ID": secrets.token_hex(8)} | {name: value for name, value in own.items() if value}


def _drawn_seed(seed: int | None) -> int:
    """Return the seed, or draw one here, so that each try of a call asks for the same images."""
    return secrets.randbelow(2**53) if seed is None else seed


def _parts(count: int, first_index: int) -> Iterator[range]:
    end = first_index + count
    return (range(start, min(start + AT_ONCE, end)) for start in range(first_index, end, AT_ONCE))


def _generate(
    media_type: str, count: int, seed: int | None, first_index: int, class_name: Classes, *, exact: bool = False
) -> Call:
    given = {"count": count, "seed": _drawn_seed(seed), "first_index": first_index, "class": class_name, "exact": exact}
    body = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
    return Call(("POST", "/generate"), media_type, JSON, body)


def _interpolate(begin: tuple[int, int], end: tuple[int, int], count: int, class_name: str | None) -> Call:
    given = {"count": count, "class": class_name, **dict(zip(("seed", "index"), begin, strict=True))}
    given |= dict(zip(("to_seed", "to_index"), end, strict=True))
    return Call(("POST", "/interpolate"), NPY, JSON, json.dumps(given).encode())


def _sent(verb: str, array: Array, class_name: str | None) -> Call:
    query = "?" + urlencode({"class": class_name}) if class_name is not None else ""
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return Call(("POST", f"/{verb}{query}"), NPY, NPY, file.getvalue())


def _card(response: httpx.Response) -> Card:
    try:
        return Card.model_validate_json(response.content)
    except ValidationError:
        raise _foreign(response, "the answer is not a card") from None


def _answer(response: httpx.Response) -> Answer:
    try:
        images = npy.read_array(BytesIO(response.content), allow_pickle=False)
    except (ValueError, TypeError, KeyError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError):
        raise _foreign(response, "the answer is not a whole NPY") from None
    if images.dtype != np.float32 or images.ndim < LEAST_AXES:
        raise _foreign(response, f"the answer is an NPY of {images.ndim} axes of {images.dtype}")
    try:
        return Answer.received(images, response.headers)
    except ValueError as error:
        raise _foreign(response, str(error)) from None


def _checked(response: httpx.Response, expected: str, *, has_answered: bool) -> httpx.Response:
    if not response.is_success:
        try:
            said = Problem.model_validate_json(response.content).detail
        except ValidationError:
            foreign = _foreign(response, "the answer is not a problem document")
            raise (Passing(str(foreign)) if response.is_server_error and has_answered else foreign) from None
        message = f"{response.request.url.path}: {response.status_code}: {said}"
        if response.status_code in PASSING:
            after = response.headers.get("retry-after", "")
            raise Passing(message, retry_after_s=float(after) if after.isdecimal() else 0.0)
        raise RequestError(message)
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != expected:
        raise _foreign(response, f"the answer is not {expected}")
    return response


def _foreign(response: httpx.Response, found: str) -> RequestError:
    return RequestError(f"{response.request.url.path}: {response.status_code}: {found}: {FOREIGN}")


def _unanswered(url: httpx.URL, error: httpx.RequestError, *, has_answered: bool) -> Passing:
    """Return what to try again after, or raise what a wrong address or a server that is not up comes to at once."""
    if isinstance(error, httpx.UnsupportedProtocol):
        raise RequestError(f"{url}: write the address of the model with http:// or https://") from None
    message = f"{url}: no answer ({type(error).__name__}): is the server up, and the address right?"
    if has_answered and isinstance(error, LOST):
        return Passing(message)
    raise RequestError(message) from None
