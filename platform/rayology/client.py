"""Call a served model, from plain or from asynchronous code; imports neither torch nor Ray."""

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
from rayology.serving.schemas import Card, GenerateRequest, Problem

__all__ = ["AsyncClient", "Client"]

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
    """The media type that the answer must have."""
    content_type: str = ""
    body: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """What it says of its body, and of the answer."""
        return {"Accept": self.accept} | ({"Content-Type": self.content_type} if self.content_type else {})


CARD = Call(("GET", "/"), JSON)


class Client:
    """One session with one model; use it in a ``with`` block, and for many calls.

    Every method raises RequestError with what the server said, or with where no server, or another one, answered.
    """

    def __init__(self, url: str, *, token: str = "", transport: httpx.BaseTransport | None = None) -> None:
        self._session = httpx.Client(base_url=url, headers=_bearer(token), timeout=TIMEOUT_S, transport=transport)

    def card(self) -> Card:
        """Return what the model is and can do."""
        return _card(self._send(CARD))

    def generate(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> Array:
        """Return new images as (count, channel, height, width) in modality units, volumes with slices before height."""
        return _array(self._send(_generate(NPY, count, seed, class_name)))

    def generate_png(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> bytes:
        """Return new images as one PNG, several as a sheet; a volume is shown as its three middle planes."""
        return self._send(_generate(PNG, count, seed, class_name)).content

    def reconstruct(self, images: Array, *, class_name: str | None = None) -> Array:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width).

        Volumes have slices before height, and must have exactly the size that the card names.
        """
        return _array(self._send(_reconstruct(images, class_name)))

    def _send(self, call: Call) -> httpx.Response:
        try:
            answer = self._session.request(*call.line, headers=call.headers, content=call.body)
        except httpx.RequestError as error:
            raise _unanswered(self._session.base_url, error) from None
        return _checked(answer, call.accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._session.close()


class AsyncClient:
    """As ``Client``, to be awaited; use it in an ``async with`` block."""

    def __init__(self, url: str, *, token: str = "", transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._session = httpx.AsyncClient(base_url=url, headers=_bearer(token), timeout=TIMEOUT_S, transport=transport)

    async def card(self) -> Card:
        """Return what the model is and can do."""
        return _card(await self._send(CARD))

    async def generate(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> Array:
        """Return new images as (count, channel, height, width) in modality units, volumes with slices before height."""
        return _array(await self._send(_generate(NPY, count, seed, class_name)))

    async def generate_png(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> bytes:
        """Return new images as one PNG, several as a sheet; a volume is shown as its three middle planes."""
        return (await self._send(_generate(PNG, count, seed, class_name))).content

    async def reconstruct(self, images: Array, *, class_name: str | None = None) -> Array:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width).

        Volumes have slices before height, and must have exactly the size that the card names.
        """
        return _array(await self._send(_reconstruct(images, class_name)))

    async def _send(self, call: Call) -> httpx.Response:
        try:
            answer = await self._session.request(*call.line, headers=call.headers, content=call.body)
        except httpx.RequestError as error:
            raise _unanswered(self._session.base_url, error) from None
        return _checked(answer, call.accept)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.aclose()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _generate(media_type: str, count: int, seed: int | None, class_name: str | None) -> Call:
    asked = GenerateRequest.model_construct(count=count, seed=seed, class_name=class_name)  # the server checks
    body = asked.model_dump_json(by_alias=True, exclude_none=True).encode()
    return Call(("POST", "/generate"), media_type, JSON, body)


def _reconstruct(images: Array, class_name: str | None) -> Call:
    query = "?" + urlencode({"class": class_name}) if class_name else ""
    file = BytesIO()
    np.save(file, images, allow_pickle=False)
    return Call(("POST", f"/reconstruct{query}"), NPY, NPY, file.getvalue())


def _card(answer: httpx.Response) -> Card:
    try:
        return Card.model_validate_json(answer.content)
    except ValidationError:
        raise _foreign(answer, "the answer is no card") from None


def _array(answer: httpx.Response) -> Array:
    try:
        images = npy.read_array(BytesIO(answer.content), allow_pickle=False)
    except (ValueError, TypeError, KeyError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError):
        raise _foreign(answer, "the answer is no whole NPY") from None
    if images.dtype != np.float32 or images.ndim not in (4, 5):
        raise _foreign(answer, f"the answer is an NPY of {images.ndim} axes of {images.dtype}")
    return images


def _checked(answer: httpx.Response, expected: str) -> httpx.Response:
    if not answer.is_success:
        try:
            said = Problem.model_validate_json(answer.content).detail
        except ValidationError:
            raise _foreign(answer, "the answer is no problem document") from None
        raise RequestError(f"{answer.request.url.path}: {answer.status_code}: {said}")
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != expected:
        raise _foreign(answer, f"the answer is no {expected}")
    return answer


def _foreign(answer: httpx.Response, found: str) -> RequestError:
    return RequestError(f"{answer.request.url.path}: {answer.status_code}: {found}: {FOREIGN}")


def _unanswered(url: httpx.URL, error: httpx.RequestError) -> RequestError:
    return RequestError(f"{url}: no answer ({type(error).__name__}): is the server up, and the address right?")
