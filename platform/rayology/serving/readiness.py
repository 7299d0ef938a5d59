"""Say when what is being served can answer, which takes a while from its start."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus

import httpx

from rayology.progress import console

__all__ = ["announce"]

ANSWERS = {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}  # the second: it is there, and asks for a token
SECONDS_BETWEEN_LOOKS = 1.0


def announce(urls: Sequence[str]) -> threading.Thread:
    """Print a line for each URL once it answers, from a thread that ends with the process; return the thread."""
    thread = threading.Thread(target=_wait, args=(urls,), daemon=True)
    thread.start()
    return thread


def _wait(urls: Sequence[str]) -> None:
    for url in urls:
        status = 0
        while status not in ANSWERS:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            with suppress(httpx.HTTPError):
                status = httpx.get(url, timeout=5, trust_env=False).status_code
        console.print(f"Ready: {url}", highlight=False, soft_wrap=True)
