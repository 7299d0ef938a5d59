"""What is sent to a model's endpoints, and what comes back."""

import asyncio
from io import BytesIO

import httpx
import numpy as np
from numpy.typing import NDArray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PNG, NPY, ZIP, JSON = "image/png", "application/x-npy", "application/zip", "application/json"


def array_of(answer: httpx.Response) -> NDArray[np.float32]:
    images: NDArray[np.float32] = np.load(BytesIO(answer.content), allow_pickle=False)
    return images


def npy_of(array: NDArray[np.generic]) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def refused(answer: httpx.Response, status: int) -> str:
    """Return the detail of an answer that must be a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert problem["title"]
    assert "Traceback" not in answer.text
    return str(problem["detail"])


def talk(app: ASGIApp, scope: Scope, *messages: Message) -> list[str]:
    """Give an application its messages one by one, and return the types of what it sends."""
    waiting, sent = list(messages), list[str]()

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(_call(app, scope, receive, send))  # run() wants a coroutine, not any awaitable
    return sent


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
