"""Tell when what is being served can answer, which takes a while from its start."""

from contextlib import suppress
from http import HTTPStatus

import httpx

__all__ = ["answers"]

ANSWERS = {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}  # the second: it is there, and asks for a token


def answers(url: str) -> bool:
    """Tell whether a model answers at a URL, and not its proxy alone."""
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5, trust_env=False).status_code in ANSWERS
    return False
