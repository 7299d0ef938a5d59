"""Who is let in, and how much may be sent."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from rayology.errors import ConfigError

__all__ = ["TOKEN", "Admission", "token"]

TOKEN = "RAYOLOGY_TOKEN"  # noqa: S105 - the name of the variable, not the token

CLOSE = {"Connection": "close"}  # what is left of the body is not worth reading
READ_ON = 4  # of the largest body, that is read before a larger one is refused
REST_S = 0.005  # after each part that is not kept, so that reading on leaves time to answer others


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

    @property
    def stranger(self) -> HTTPException:
        """The answer to who is not admitted."""
        detail = "the token is missing or wrong: send the header 'Authorization: Bearer TOKEN'"
        return HTTPException(401, detail, {"WWW-Authenticate": "Bearer", **CLOSE})

    async def body(self, request: Request, *, most: int | None, hold: Callable[[int], None]) -> bytes:
        """Read a body, and refuse one that is too large or too slow; ``hold`` is told the bytes of each part.

        A body that is too large is read on for a while, and not kept: a client that is cut off while it still sends
        does not see the refusal.

        Raises:
            HTTPException: 413 or 408, which also closes the connection.
        """
        most, read_on = min(most or self.max_body_bytes, self.max_body_bytes), READ_ON * self.max_body_bytes
        too_large = HTTPException(413, f"the body is too large: send at most {most} bytes", CLOSE)
        announced = request.headers.get("content-length", "")
        announced_bytes = int(announced) if announced.isdecimal() else 0
        if announced_bytes > read_on:
            raise too_large
        parts, num_bytes = list[bytes](), 0
        try:
            async with asyncio.timeout(self.body_timeout_s):
                async for part in request.stream():
                    num_bytes += len(part)
                    if num_bytes > read_on:
                        raise too_large
                    if max(announced_bytes, num_bytes) <= most:
                        hold(len(part))
                        parts.append(part)
                    else:
                        parts.clear()
                        await asyncio.sleep(REST_S)
        except TimeoutError:
            if max(announced_bytes, num_bytes) > most:
                raise too_large from None
            raise HTTPException(408, "the body came too slowly: send it at once", CLOSE) from None
        if num_bytes > most:
            raise too_large
        return b"".join(parts)


def token() -> str:
    """Return what callers must send.

    Raises:
        ConfigError: RAYOLOGY_TOKEN is not set.
    """
    if not (found := os.environ.get(TOKEN, "")):
        raise ConfigError(f"{TOKEN}: not set; export a token where Ray starts, or write 'access: open' for everyone")
    return found
