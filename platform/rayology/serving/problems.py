"""What went wrong, as problem documents (RFC 9457)."""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rayology.errors import RequestError
from rayology.serving.schemas import Problem

__all__ = ["Failsafe", "add_problem_handlers", "problem"]

EXAMPLE = '{"count": 1, "seed": 7}'

logger = logging.getLogger(__name__)


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document."""
    document = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(document.model_dump_json(), status, headers, "application/problem+json")


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every error of an application into a problem document; no answer and no log repeats what was sent."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _refused(_: Request, error: Exception) -> Response:
    return problem(422, str(error))


async def _invalid(_: Request, error: Exception) -> Response:
    """Name each field with what it must be, but not its value: that is the client's."""
    assert isinstance(error, RequestValidationError), "the handler is registered for it"  # noqa: S101
    mistakes = error.errors()
    if any(mistake["type"] == "json_invalid" for mistake in mistakes):
        return problem(400, f"the body is no JSON: send for example {EXAMPLE}")
    if any(mistake["type"] in ("missing", "model_attributes_type") for mistake in mistakes):
        return problem(422, f"the body is no JSON object: send for example {EXAMPLE} as application/json")
    named = (f"{'.'.join(map(str, mistake['loc'][1:])) or 'the body'}: {mistake['msg']}" for mistake in mistakes)
    return problem(422, "; ".join(named) + "; /docs shows every field")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "the handler is registered for it"  # noqa: S101
    match error.status_code:
        case 404 if error.detail == HTTPStatus.NOT_FOUND.phrase:
            detail = "this model has no such endpoint: GET / names what it can do, /docs lists the endpoints"
        case 400:
            detail = f"the body is no JSON: send for example {EXAMPLE}"
        case 405:
            detail = f"{request.method} is not allowed here: /docs lists what is"
        case _:
            detail = error.detail
    return problem(error.status_code, detail, headers=error.headers)


class Failsafe:
    """Answer 500 to what nothing else caught; log where it happened, not its message, which may quote the client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer only where no answer has begun."""
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
                detail = "the server failed at this request: try again, and tell its operator if it stays so"
                await problem(500, detail)(scope, receive, send)
