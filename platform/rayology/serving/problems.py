"""Errors as problem documents (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rayology.serving.schemas import Problem

__all__ = ["not_json", "problem", "refusal"]

EXAMPLE = '{"count": 1, "seed": 7}'
MOST_NAMED = 3  # mistakes; a body may hold thousands


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document."""
    document = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(document.model_dump_json(), status, headers, "application/problem+json")


def not_json(status: int) -> HTTPException:
    """Return the refusal of a body that is not a JSON object, or does not say that it is one."""
    if status == HTTPStatus.BAD_REQUEST:
        return HTTPException(status, f"the body is not JSON: send for example {EXAMPLE}")
    return HTTPException(status, f"the body is not a JSON object: send for example {EXAMPLE} as application/json")


def refusal(error: ValidationError) -> HTTPException:
    """Return a refusal that names fields with what they must be, but not their values: these are the client's."""
    mistakes = error.errors(include_url=False, include_input=False)
    if any(mistake["type"] == "model_type" for mistake in mistakes):
        return not_json(HTTPStatus.UNPROCESSABLE_ENTITY)
    named = []
    for mistake in mistakes[:MOST_NAMED]:
        unknown = mistake["type"] == "extra_forbidden"
        place = "a field that is not known" if unknown else ".".join(map(str, mistake["loc"])) or "the body"
        named.append(f"{place}: {mistake['msg'].removeprefix('Value error, ')}")
    return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(dict.fromkeys(named)) + "; /docs shows every field")
