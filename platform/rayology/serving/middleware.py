"""Middleware between the network and the endpoints: authorization, limits, the version header, server errors."""

import asyncio
import hashlib
import hmac
import logging
import traceback
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayology.serving.answer import VERSION
from rayology.serving.problems import problem

__all__ = ["Admission", "AuthAndLimits", "ServerErrors", "VersionHeader"]

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/docs", "/openapi.json"})  # they tell only the endpoints of the model
CLOSE = {"Connection": "close"}  # what is left of the body is not worth reading


@dataclass(frozen=True)
class Admission:
    """What a request needs to be admitted."""

    token_digest: bytes | None
    """SHA-256 of the bearer token, so that the token itself is stored nowhere; None lets everyone in."""
    max_body_bytes: int
    """Largest body of a request, in bytes."""
    body_timeout_s: float
    """Time that a body may take to arrive, in seconds; a trickled one would hold a connection open."""

    @staticmethod
    def digest(token: str) -> bytes:
        """Return what is kept of a token."""
        return hashlib.sha256(token.encode()).digest()

    def admits(self, authorization: str) -> bool:
        """Tell whether an ``Authorization`` header carries the token, in a time that does not show how nearly."""
        if self.token_digest is None:
            return True
        scheme, _, token = authorization.partition(" ")
        return hmac.compare_digest(self.digest(token.strip()), self.token_digest) and scheme.lower() == "bearer"


class AuthAndLimits:
    """Refuse requests that lack the token or are too large, before the application reads them."""

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
        """Stop reading a body that turns out too large or too slow."""
        deadline = asyncio.get_running_loop().time() + self.admission.body_timeout_s
        num_bytes, has_more = 0, True

        async def metered() -> Message:
            nonlocal num_bytes, has_more
            if not has_more:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body came too slowly: send it at once", CLOSE) from None
            num_bytes += len(message.get("body", b""))
            if num_bytes > self.admission.max_body_bytes:
                raise HTTPException(413, self._too_large, CLOSE)
            has_more = bool(message.get("more_body", False))
            return message

        return metered


class VersionHeader:
    """Name the version in every answer to those who are admitted; on an open path others do not learn it."""

    def __init__(self, app: ASGIApp, admission: Admission, version: str) -> None:
        self.app = app
        self.admission = admission
        self.version = version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back with the header."""

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[VERSION] = self.version
            await send(message)

        is_http = scope["type"] == "http"
        is_admitted = is_http and self.admission.admits(Headers(scope=scope).get("authorization", ""))
        await self.app(scope, receive, named if is_admitted else send)


class ServerErrors:
    """Answer 500 to what nothing else caught; log where it happened, not its message, which may quote the client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer only if no answer has begun."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - one request that fails must not stop the rest
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("A request failed with %s\n%s", type(error).__name__, where)  # noqa: TRY400 - see the class
            if not has_begun:
                detail = "the server failed on this request: try again, and tell its operator if it keeps failing"
                await problem(500, detail)(scope, receive, send)
