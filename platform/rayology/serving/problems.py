"""Errors as problem documents (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rayology.errors import RequestError
from rayology.serving.schemas import Problem

__all__ = ["add_problem_handlers", "problem"]

EXAMPLE = '{"count": 1, "seed": 7}'


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document."""
    document = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(document.model_dump_json(), status, headers, "application/problem+json")


def add_problem_handlers(app: FastAPI, *, no_such_endpoint: str) -> None:
    """Turn every error of an application into a problem document; no answer and no log repeats what was sent.

    Args:
        app: the application.
        no_such_endpoint: the detail for a path that it does not have.
    """
    app.state.no_such_endpoint = no_such_endpoint
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
        return problem(400, f"the body is not JSON: send for example {EXAMPLE}")
    if any(mistake["type"] in ("missing", "model_attributes_type") for mistake in mistakes):
        return problem(422, f"the body is not a JSON object: send for example {EXAMPLE} as application/json")
    named = (f"{'.'.join(map(str, mistake['loc'][1:])) or 'the body'}: {mistake['msg']}" for mistake in mistakes)
    return problem(422, "; ".join(named) + "; /docs shows every field")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "the handler is registered for it"  # noqa: S101
    match error.status_code:
        case 404 if error.detail == HTTPStatus.NOT_FOUND.phrase:
            detail = request.app.state.no_such_endpoint
        case 400:
            detail = f"the body is not JSON: send for example {EXAMPLE}"
        case 405:
            detail = f"{request.method} is not allowed here: /docs lists what is"
        case _:
            detail = error.detail
    return problem(error.status_code, detail, headers=error.headers)
