"""Errors as problem documents (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rayology.config import EXPECTED
from rayology.serving.schemas import Problem

__all__ = ["not_json", "problem", "refusal"]

EXAMPLE = '{"count": 1, "seed": 7}'
MOST_NAMED = 3  # mistakes; a body may hold thousands


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem document."""
    document = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(document.model_dump_json(), status, headers, "application/problem+json")


def not_json(status: HTTPStatus) -> HTTPException:
    """Return the refusal of a body that is not JSON, is not a JSON object, or does not say that it is one."""
    match status:
        case HTTPStatus.BAD_REQUEST:
            found = "is not JSON: send"
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            found = "has another type: send JSON with the Content-Type application/json,"
        case _:
            found = "is not a JSON object: send"
    return HTTPException(status, f"the body {found} for example {EXAMPLE}")


def refusal(error: ValidationError, message: type[BaseModel]) -> HTTPException:
    """Return a refusal of a message that names fields with what they must be, but not their values, the client's."""
    mistakes = error.errors(include_url=False, include_input=False)
    if any(mistake["type"] == "model_type" for mistake in mistakes):
        return not_json(HTTPStatus.UNPROCESSABLE_ENTITY)
    known = ", ".join(field.alias or name for name, field in message.model_fields.items())
    named = []
    for mistake in mistakes[:MOST_NAMED]:
        name, kind = ".".join(map(str, mistake["loc"])), mistake["type"]
        if kind == "extra_forbidden":
            named.append(f"a field is not known: write any of {known}")
        elif kind in EXPECTED:
            named.append(f"{name}: write {EXPECTED[kind].format(**mistake.get('ctx', {}))}")
        elif kind == "missing":
            named.append(f"{name}: needs a value")
        else:
            named.append(f"{name or 'the body'}: {mistake['msg'].removeprefix('Value error, ')}")
    return HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(dict.fromkeys(named)) + "; /docs shows every field")
