"""What a request must pass before anything reads it: its token, the size of its body, and the time that takes."""

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayology.serving.problems import problem

__all__ = ["Admission", "Guard", "Signed"]

OPEN_PATHS = frozenset({"/healthz", "/docs", "/openapi.json"})  # of the model they tell its endpoints alone
CLOSE = {"Connection": "close"}  # what is left of the body is not worth reading


@dataclass(frozen=True)
class Admission:
    """What a request must bring."""

    token_digest: bytes | None
    """SHA-256 of the bearer token, so that the token itself is stored nowhere; None lets everyone in."""
    max_body_bytes: int
    """The largest body."""
    body_timeout_s: float
    """How long a body may take to arrive; a trickled one holds a connection open."""

    @staticmethod
    def digest(token: str) -> bytes:
        """Return what is kept of a token."""
        return hashlib.sha256(token.encode()).digest()

    def admits(self, authorization: str) -> bool:
        """Say whether an ``Authorization`` header carries the token, in a time that does not tell how nearly."""
        if self.token_digest is None:
            return True
        scheme, _, token = authorization.partition(" ")
        return hmac.compare_digest(self.digest(token.strip()), self.token_digest) and scheme.lower() == "bearer"


class Guard:
    """Refuse what may not come in, before the application reads it."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app = app
        self.admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem document, or pass the request on with its body metered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self.app(scope, self._metered(receive), send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path not in OPEN_PATHS and not self.admission.admits(headers.get("authorization", "")):
            detail = "the token is missing or wrong: send the header 'Authorization: Bearer TOKEN'"
            return problem(401, detail, headers={"WWW-Authenticate": "Bearer", **CLOSE})
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.admission.max_body_bytes:
            return problem(413, self._too_large, headers=CLOSE)
        return None

    @property
    def _too_large(self) -> str:
        return f"the body is too large: send at most {self.admission.max_body_bytes} bytes"

    def _metered(self, receive: Receive) -> Receive:
        """Stop a body that turns out too large or too slow where it is read."""
        deadline = asyncio.get_running_loop().time() + self.admission.body_timeout_s
        num_bytes, has_more = 0, True

        async def metered() -> Message:
            nonlocal num_bytes, has_more
            if not has_more:
                return await receive()
            message = await _before(deadline, receive)
            num_bytes += len(message.get("body", b""))
            if num_bytes > self.admission.max_body_bytes:
                raise HTTPException(413, self._too_large, CLOSE)
            has_more = bool(message.get("more_body", False))
            return message

        return metered


class Signed:
    """Add headers to every answer to those who are admitted: an open path tells others nothing in them."""

    def __init__(self, app: ASGIApp, admission: Admission, headers: Mapping[str, str]) -> None:
        self.app = app
        self.admission = admission
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back with the headers."""

        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        is_http = scope["type"] == "http"
        is_admitted = is_http and self.admission.admits(Headers(scope=scope).get("authorization", ""))
        await self.app(scope, receive, signed if is_admitted else send)


async def _before(deadline: float, receive: Receive) -> Message:
    try:
        async with asyncio.timeout_at(deadline):
            return await receive()
    except TimeoutError:
        raise HTTPException(408, "the body came too slowly: send it at once", CLOSE) from None
