"""One model over HTTP, as a plain ASGI application: its card, its health, and an endpoint for each verb."""

import asyncio
import json
import logging
import math
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from rayology.errors import BusyError, MissingVersion, RayologyError, RefusedByGate, RequestError
from rayology.image import ImageSpec
from rayology.serving.admission import Admission
from rayology.serving.answer import VERSION, Answer
from rayology.serving.codecs import (
    MAX_VALUES,
    decode_latents,
    decode_npy,
    decode_png,
    encode_npy,
    encode_png,
    encode_zip,
)
from rayology.serving.monitoring import EXPOSITION, Monitor
from rayology.serving.negotiation import MediaType, taken, wanted
from rayology.serving.openapi import docs, openapi
from rayology.serving.predictor import Predictor
from rayology.serving.problems import not_json, problem, refusal
from rayology.serving.schemas import GenerateRequest, Health, InterpolateRequest
from rayology.serving.units import check_units
from rayology.serving.verbs import ImagesRequest, LatentsRequest, SentRequest, verbs_of
from rayology.serving.versions import POLL_S, Versions

__all__ = ["RestApp"]

logger = logging.getLogger(__name__)

REQUEST_ID = "X-Request-ID"
OPEN_PATHS = frozenset({"healthz", "docs", "openapi.json"})  # they tell only the endpoints of the model
MAX_JSON_BYTES = 10_000
READS = ("GET", "HEAD")
GONE = 499  # status of a request whose client has gone, as other servers log it; nobody receives it
SOON_S = 0.2  # in which most are answered, and nobody looks whether the client is still there
FEW_VALUES = 2**14  # are encoded sooner than a thread takes over
HELD_BODIES = 32  # of the largest size, that may be in memory at once


class ReadBody(Protocol):
    """Reads the body of a request, of at most so many bytes."""

    async def __call__(self, *, most: int | None = None) -> bytes:
        """Return it; raises HTTPException and BusyError."""
        ...


@dataclass
class Exchange:
    """A request, and what becomes known of it until it is answered."""

    request: Request
    is_admitted: bool = False
    verb: str = "-"
    version: str = ""
    held_bytes: int = 0
    began_at: float = field(default_factory=time.perf_counter)


class RestApp:
    """Answer requests for one model with the version that each of them is for."""

    def __init__(self, versions: Versions, admission: Admission, monitor: Monitor) -> None:
        self._versions, self._admission, self._monitor = versions, admission, monitor
        self._most_held = HELD_BODIES * admission.max_body_bytes
        self._held_bytes = 0
        self._pages: Mapping[str, Callable[[Exchange, Predictor], Response]] = {
            "": self._card,
            "healthz": self._healthz,
            "readyz": self._readyz,
            "docs": self._docs,
            "openapi.json": self._openapi,
            "metrics": self._metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and log what was asked and came of it, but nothing that the caller wrote."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        if scope["type"] != "http":
            return
        exchange = Exchange(Request(scope, receive))
        try:
            response = await self._answered(exchange)
        finally:
            self._held_bytes -= exchange.held_bytes
        if response is None:
            self._note(exchange, GONE)
            return
        if exchange.is_admitted and exchange.version:
            response.headers[VERSION] = exchange.version
        await response(scope, receive, send)
        self._note(exchange, response.status_code)

    def _note(self, exchange: Exchange, status: int) -> None:
        """Count a request, and write the line of it."""
        seconds, version = time.perf_counter() - exchange.began_at, exchange.version or "-"
        self._monitor.answered(exchange.verb, version, status, seconds)
        logger.info("%s %s %d, %.1f ms", exchange.verb, version, status, 1000 * seconds)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self._versions.close()
        self._monitor.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answered(self, exchange: Exchange) -> Response | None:
        """Return an answer, whatever happens; None to a client that has gone."""
        try:
            return await self._answer(exchange)
        except BusyError as error:
            return problem(503, str(error), headers={"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})
        except RequestError as error:
            return problem(422, str(error))
        except HTTPException as error:
            return problem(error.status_code, error.detail, headers=error.headers)
        except ClientDisconnect:
            return None
        except Exception as error:  # noqa: BLE001 - one request that fails must not stop the rest
            where = "".join(traceback.format_tb(error.__traceback__))  # its message may quote the client
            logger.error("A request failed with %s\n%s", type(error).__name__, where)  # noqa: TRY400 - see above
            return problem(
                500, "the server failed on this request: try again, and tell its operator if it keeps failing"
            )

    async def _answer(self, exchange: Exchange) -> Response:
        request, scope = exchange.request, exchange.request.scope
        path = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        exchange.is_admitted = self._admission.admits(request.headers.get("authorization", ""))
        if not exchange.is_admitted and path not in OPEN_PATHS:
            raise self._admission.stranger
        predictor = await self._chosen(exchange)
        exchange.version = predictor.card.version
        if page := self._pages.get(path):
            _require_method(request, READS)
            return page(exchange, predictor)
        verb = next((verb for verb in verbs_of(predictor.card.capabilities) if verb.name == path), None)
        if verb is None:
            raise HTTPException(404, _no_such_endpoint(predictor))
        exchange.verb = verb.name
        _require_method(request, ("POST",))
        media_type = wanted(request.headers.get("accept", "*/*"), verb.answers)
        asked, exact = await REQUESTS[verb.request](request, predictor, partial(self._body, exchange))
        answer = await _unless_gone(request, predictor.answer(verb, asked, exact=exact))
        return await _response(answer, media_type, predictor.image)

    async def _body(self, exchange: Exchange, *, most: int | None = None) -> bytes:
        """Read a body, which counts as held until its request is answered."""

        def hold(num_bytes: int) -> None:
            exchange.held_bytes += num_bytes
            self._held_bytes += num_bytes
            if self._held_bytes > self._most_held:
                raise BusyError("too much is being sent at once: try again", retry_after_s=1)

        return await self._admission.body(exchange.request, most=most, hold=hold)

    async def _chosen(self, exchange: Exchange) -> Predictor:
        """Return the version that a request names; else by its id the canary or the champion."""
        request = exchange.request
        if not exchange.is_admitted or not (named := request.headers.get(VERSION, "")):
            return self._versions.chosen(request.headers.get(REQUEST_ID) or secrets.token_hex(8))
        if held := self._versions.held(named):
            return held
        try:
            loading = await asyncio.to_thread(self._versions.asked_for, named)
            return await asyncio.shield(asyncio.wrap_future(loading))  # others wait for it, though this client may go
        except MissingVersion:
            detail = f"{VERSION}: there is no such version here: leave the header out, or name one of the store's"
            raise HTTPException(404, detail) from None
        except RefusedByGate as error:
            detail = f"{VERSION}: this version is not served, for {error.fault}: leave the header out, or name another"
            raise HTTPException(403, detail) from None
        except BusyError:
            raise
        except RayologyError as error:
            logger.error("A version that a request named cannot be served: %s", error)  # noqa: TRY400 - it says all
            raise BusyError(f"{VERSION}: this version cannot be served now", retry_after_s=POLL_S) from None

    def _card(self, _: Exchange, predictor: Predictor) -> Response:
        return _json(predictor.card.model_dump_json())

    def _healthz(self, _: Exchange, __: Predictor) -> Response:
        return _json(Health().model_dump_json())

    def _readyz(self, _: Exchange, __: Predictor) -> Response:
        if complaints := self._versions.complaints:
            return problem(503, "; ".join(complaints))
        return _json(Health().model_dump_json())

    def _metrics(self, _: Exchange, __: Predictor) -> Response:
        self._versions.tell()
        return Response(self._monitor.exposition(), media_type=EXPOSITION)

    def _docs(self, exchange: Exchange, predictor: Predictor) -> Response:
        return HTMLResponse(docs(predictor.card, exchange.request.scope.get("root_path", "")))

    def _openapi(self, _: Exchange, predictor: Predictor) -> Response:
        return JSONResponse(openapi(predictor.card))


Drawing = GenerateRequest | InterpolateRequest


async def _drawing_request(
    message: type[Drawing], request: Request, _: Predictor, read_body: ReadBody
) -> tuple[Drawing, bool]:
    body = await read_body(most=MAX_JSON_BYTES)
    if _media_type(request, default="application/json") != "application/json":
        raise not_json(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    try:
        values = json.loads(body, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
        asked = message.model_validate(values, strict=True)
    except ValidationError as error:
        raise refusal(error, message) from None
    except (ValueError, RecursionError):
        raise not_json(HTTPStatus.BAD_REQUEST if body.strip() else HTTPStatus.UNPROCESSABLE_ENTITY) from None
    return asked, asked.exact


async def _sent_request(
    message: type[SentRequest],
    decode: Callable[[bytes, str, Predictor], NDArray[np.float32]],
    request: Request,
    predictor: Predictor,
    read_body: ReadBody,
) -> tuple[SentRequest, bool]:
    query = request.query_params
    if unknown := sorted(set(query) - {"class", "exact"}):
        raise HTTPException(422, f"the query has {len(unknown)} that are not known: write class or exact, or neither")
    if (exact := query.get("exact", "false")) not in {"true", "false"}:
        raise HTTPException(422, "exact: write true or false")
    body = await read_body()
    read = partial(decode, body, _media_type(request), predictor)
    return message(read, query.get("class")), exact == "true"


def _images(body: bytes, media_type: str, predictor: Predictor) -> NDArray[np.float32]:
    image = predictor.image
    if media_type not in taken(is_volume=image.is_volume):
        sent = "a volume, as an NPY of (slices, height, width)," if image.is_volume else "the image"
        raise HTTPException(415, f"send {sent} with the Content-Type {' or '.join(taken(is_volume=image.is_volume))}")
    if media_type == "image/png":
        return decode_png(body, image.values, channels=image.channels)
    max_values = max(MAX_VALUES, math.prod(image.shape))
    images = decode_npy(body, channels=image.channels, num_axes=len(image.size), max_values=max_values)
    for each in images:
        check_units(each, image)
    return images


def _latents(body: bytes, media_type: str, predictor: Predictor) -> NDArray[np.float32]:
    if media_type != "application/x-npy":
        raise HTTPException(415, "send latents, as an NPY, with the Content-Type application/x-npy")
    return decode_latents(body, latent=predictor.card.latent or ())


REQUESTS: Mapping[type[object], Callable[[Request, Predictor, ReadBody], Awaitable[tuple[Any, bool]]]] = {
    GenerateRequest: partial(_drawing_request, GenerateRequest),
    InterpolateRequest: partial(_drawing_request, InterpolateRequest),
    ImagesRequest: partial(_sent_request, ImagesRequest, _images),
    LatentsRequest: partial(_sent_request, LatentsRequest, _latents),
}
"""What reads a request, and whether it asks for exact images, by the type of a verb's request."""


def _media_type(request: Request, *, default: str = "") -> str:
    """Return the media type of a request's body, without parameters."""
    return request.headers.get("content-type", default).partition(";")[0].strip().lower()


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise HTTPException(422, "the body names a field twice: send each once")
    return values


def _refuse_constant(_: str) -> object:
    raise ValueError


def _require_method(request: Request, allowed: tuple[str, ...]) -> None:
    if request.method not in allowed:
        detail = f"{request.method} is not allowed here: /docs lists what is"
        raise HTTPException(405, detail, {"Allow": ", ".join(allowed)})


async def _unless_gone(request: Request, answering: Awaitable[Answer]) -> Answer:
    """Wait for an answer while its client does.

    Raises:
        ClientDisconnect: the client has gone, and what it asked for is given up.
    """
    task = asyncio.ensure_future(answering)
    leaving: asyncio.Future[None] | None = None
    try:
        if not (await asyncio.wait([task], timeout=SOON_S))[0]:
            leaving = asyncio.ensure_future(_left(request))
            await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        if leaving:
            leaving.cancel()


async def _left(request: Request) -> None:
    """Return once the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _no_such_endpoint(predictor: Predictor) -> str:
    card = predictor.card
    able, asked = (", ".join(names) or "nothing" for names in (card.capabilities, card.verbs))
    return f"no such endpoint: this model can {able}, and this server offers {asked}; see its card, GET /, and /docs"


async def _response(answer: Answer, media_type: MediaType, image: ImageSpec) -> Response:
    encode = partial(FORMS[media_type], answer, image)
    is_quick = media_type == "application/x-npy" or (media_type == "image/png" and answer.images.size <= FEW_VALUES)
    content = encode() if is_quick else await asyncio.to_thread(encode)
    return Response(content, headers=answer.headers, media_type=media_type)


def _png(answer: Answer, image: ImageSpec) -> bytes:
    return encode_png(answer.images, image.values, text=answer.png_text)


def _zip(answer: Answer, image: ImageSpec) -> bytes:
    """Pack a PNG of each image, named by its index, or by its place if it was not drawn by index."""
    first = answer.first_index or 0
    return encode_zip((f"{index:04}.png", _png(each, image)) for index, each in enumerate(answer.each(), first))


FORMS: Mapping[MediaType, Callable[[Answer, ImageSpec], bytes]] = {
    "image/png": _png,
    "application/x-npy": lambda answer, _: encode_npy(answer.images),
    "application/zip": _zip,
}
"""What writes an answer, by media type."""


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
