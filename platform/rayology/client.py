"""Call a served model, from plain or from asynchronous code; imports neither torch nor Ray."""

from dataclasses import dataclass, field
from io import BytesIO
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from rayology.errors import RequestError
from rayology.serving.schemas import Card, GenerateRequest, Problem

__all__ = ["AsyncClient", "Client"]

Array = NDArray[np.float32]

PNG, NPY = "image/png", "application/x-npy"
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Call:
    """A request, before a session sends it."""

    line: tuple[str, str]
    """Method and path with its query."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Client:
    """One session with one model; use it in a ``with`` block, and for many calls.

    Every method raises RequestError with what the server said, or with where no server answered.
    """

    def __init__(self, url: str, *, token: str = "", transport: httpx.BaseTransport | None = None) -> None:
        self._session = httpx.Client(base_url=url, headers=_bearer(token), timeout=TIMEOUT_S, transport=transport)

    def card(self) -> Card:
        """Return what the model is and can do."""
        return Card.model_validate_json(self._send(Call(("GET", "/"))))

    def generate(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> Array:
        """Return new images as (count, channel, height, width) in modality units."""
        return _array(self._send(_generate(NPY, count, seed, class_name)))

    def generate_png(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> bytes:
        """Return new images as one PNG, several as a sheet."""
        return self._send(_generate(PNG, count, seed, class_name))

    def reconstruct(self, images: Array, *, class_name: str | None = None) -> Array:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width)."""
        return _array(self._send(_reconstruct(images, class_name)))

    def _send(self, call: Call) -> bytes:
        try:
            return _content(self._session.request(*call.line, headers=call.headers, content=call.body))
        except httpx.TransportError as error:
            raise _unanswered(self._session.base_url, error) from None

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
        return Card.model_validate_json(await self._send(Call(("GET", "/"))))

    async def generate(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> Array:
        """Return new images as (count, channel, height, width) in modality units."""
        return _array(await self._send(_generate(NPY, count, seed, class_name)))

    async def generate_png(self, *, count: int = 1, seed: int | None = None, class_name: str | None = None) -> bytes:
        """Return new images as one PNG, several as a sheet."""
        return await self._send(_generate(PNG, count, seed, class_name))

    async def reconstruct(self, images: Array, *, class_name: str | None = None) -> Array:
        """Return what the model keeps of images given as (height, width) or (count, channel, height, width)."""
        return _array(await self._send(_reconstruct(images, class_name)))

    async def _send(self, call: Call) -> bytes:
        try:
            return _content(await self._session.request(*call.line, headers=call.headers, content=call.body))
        except httpx.TransportError as error:
            raise _unanswered(self._session.base_url, error) from None

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
    return Call(("POST", "/generate"), {"Accept": media_type, "Content-Type": "application/json"}, body)


def _reconstruct(images: Array, class_name: str | None) -> Call:
    query = "?" + urlencode({"class": class_name}) if class_name else ""
    file = BytesIO()
    np.save(file, images, allow_pickle=False)
    return Call(("POST", f"/reconstruct{query}"), {"Accept": NPY, "Content-Type": NPY}, file.getvalue())


def _array(content: bytes) -> Array:
    images: Array = np.load(BytesIO(content), allow_pickle=False)
    return images


def _content(response: httpx.Response) -> bytes:
    if response.is_success:
        return response.content
    try:
        said = Problem.model_validate_json(response.content).detail
    except ValidationError:
        said = "the answer is no problem document: is a Rayology model served there?"
    raise RequestError(f"{response.request.url.path}: {response.status_code}: {said}")


def _unanswered(url: httpx.URL, error: httpx.TransportError) -> RequestError:
    return RequestError(f"{url}: no answer ({type(error).__name__}): is the server up, and the address right?")
