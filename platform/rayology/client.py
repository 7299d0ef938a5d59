"""Call a served model, from plain or from asynchronous code; imports neither torch nor Ray."""

import json
from dataclasses import dataclass
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
from rayology.serving.answer import Answer
from rayology.serving.schemas import Card, Problem

__all__ = ["Answer", "AsyncClient", "Client"]

Array = NDArray[np.float32]

PNG, NPY, JSON = "image/png", "application/x-npy", "application/json"
TIMEOUT_S = 60.0
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

    @property
    def headers(self) -> dict[str, str]:
        """Headers that describe the body and the wanted answer."""
        return {"Accept": self.accept} | ({"Content-Type": self.content_type} if self.content_type else {})


CARD = Call(("GET", "/"), JSON)


class Client:
    """One session with one model; use it in a ``with`` block, and for many calls.

    Every method raises RequestError, with what the server said or, if no server of ours answered, with the address.

    Args:
        url: the address of the model, such as ``http://127.0.0.1:8000/models/demo``.
        token: the bearer token that the server asks for; empty for a server that asks for none.
        timeout_s: seconds to wait for a connection, and for each part of an answer.
        transport: what carries the requests; by default the network.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = TIMEOUT_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._session = httpx.Client(base_url=url, headers=_bearer(token), timeout=timeout_s, transport=transport)

    def card(self) -> Card:
        """Return what the model is and can do."""
        return _card(self._send(CARD))

    def generate(
        self, *, count: int = 1, seed: int | None = None, first_index: int = 0, class_name: str | None = None
    ) -> Answer:
        """Return new images, in modality units, with what it takes to ask for each of them again.

        Image ``i`` of the answer has the index ``first_index + i``, and is the same however many are asked for. Without
        a seed the server draws one, without a class the class of each image.
        """
        return _answer(self._send(_generate(NPY, count, seed, first_index, class_name)))

    def generate_png(
        self, *, count: int = 1, seed: int | None = None, first_index: int = 0, class_name: str | None = None
    ) -> bytes:
        """Return new images as one PNG, several as a sheet; a volume is shown as its three middle planes."""
        return self._send(_generate(PNG, count, seed, first_index, class_name)).content

    def reconstruct(self, images: Array, *, class_name: str | None = None) -> Answer:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width).

        The answer is derived from the images and shows the same people. Volumes have slices before height, and must
        have exactly the size that the card names.
        """
        return _answer(self._send(_reconstruct(images, class_name)))

    def _send(self, call: Call) -> httpx.Response:
        try:
            response = self._session.request(*call.line, headers=call.headers, content=call.body)
        except httpx.RequestError as error:
            raise _unanswered(self._session.base_url, error) from None
        return _checked(response, call.accept)

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
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._session = httpx.AsyncClient(base_url=url, headers=_bearer(token), timeout=timeout_s, transport=transport)

    async def card(self) -> Card:
        """Return what the model is and can do."""
        return _card(await self._send(CARD))

    async def generate(
        self, *, count: int = 1, seed: int | None = None, first_index: int = 0, class_name: str | None = None
    ) -> Answer:
        """Return new images, in modality units, with what it takes to ask for each of them again.

        Image ``i`` of the answer has the index ``first_index + i``, and is the same however many are asked for. Without
        a seed the server draws one, without a class the class of each image.
        """
        return _answer(await self._send(_generate(NPY, count, seed, first_index, class_name)))

    async def generate_png(
        self, *, count: int = 1, seed: int | None = None, first_index: int = 0, class_name: str | None = None
    ) -> bytes:
        """Return new images as one PNG, several as a sheet; a volume is shown as its three middle planes."""
        return (await self._send(_generate(PNG, count, seed, first_index, class_name))).content

    async def reconstruct(self, images: Array, *, class_name: str | None = None) -> Answer:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width).

        The answer is derived from the images and shows the same people. Volumes have slices before height, and must
        have exactly the size that the card names.
        """
        return _answer(await self._send(_reconstruct(images, class_name)))

    async def _send(self, call: Call) -> httpx.Response:
        try:
            response = await self._session.request(*call.line, headers=call.headers, content=call.body)
        except httpx.RequestError as error:
            raise _unanswered(self._session.base_url, error) from None
        return _checked(response, call.accept)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.aclose()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _generate(media_type: str, count: int, seed: int | None, first_index: int, class_name: str | None) -> Call:
    given = {"count": count, "seed": seed, "first_index": first_index, "class": class_name}  # the server checks them
    body = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
    return Call(("POST", "/generate"), media_type, JSON, body)


def _reconstruct(images: Array, class_name: str | None) -> Call:
    query = "?" + urlencode({"class": class_name}) if class_name is not None else ""
    file = BytesIO()
    np.save(file, images, allow_pickle=False)
    return Call(("POST", f"/reconstruct{query}"), NPY, NPY, file.getvalue())


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
    if images.dtype != np.float32 or images.ndim not in (4, 5):
        raise _foreign(response, f"the answer is an NPY of {images.ndim} axes of {images.dtype}")
    try:
        return Answer.received(images, response.headers)
    except ValueError as error:
        raise _foreign(response, str(error)) from None


def _checked(response: httpx.Response, expected: str) -> httpx.Response:
    if not response.is_success:
        try:
            said = Problem.model_validate_json(response.content).detail
        except ValidationError:
            raise _foreign(response, "the answer is not a problem document") from None
        raise RequestError(f"{response.request.url.path}: {response.status_code}: {said}")
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != expected:
        raise _foreign(response, f"the answer is not {expected}")
    return response


def _foreign(response: httpx.Response, found: str) -> RequestError:
    return RequestError(f"{response.request.url.path}: {response.status_code}: {found}: {FOREIGN}")


def _unanswered(url: httpx.URL, error: httpx.RequestError) -> RequestError:
    return RequestError(f"{url}: no answer ({type(error).__name__}): is the server up, and the address right?")
