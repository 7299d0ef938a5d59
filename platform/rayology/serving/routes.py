"""The endpoints of one model: its card, its health, and one endpoint for each verb that it is capable of."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from numpy.typing import NDArray

from rayology.image import ImageSpec
from rayology.serving.answer import CLASSES, FIRST_INDEX, NATURE, SEED, Answer
from rayology.serving.codecs import MAX_VALUES, decode_npy, decode_png, encode_npy, encode_png
from rayology.serving.middleware import Admission, AuthAndLimits, ServerErrors, VersionHeader
from rayology.serving.negotiation import MEDIA_TYPES, MediaType, wanted
from rayology.serving.predictor import Predictor
from rayology.serving.problems import add_problem_handlers
from rayology.serving.schemas import NATURES, Card, GenerateRequest, Health, Problem
from rayology.serving.units import check_units
from rayology.serving.verbs import ImagesRequest, Verb, verbs_of

__all__ = ["create_app"]

Document = dict[str, object]
Endpoint = Callable[..., Awaitable[Response]]

DESCRIPTION = (
    f"Every answer tells its nature in the header {NATURE}: synthetic (shows nobody), derived (shows the "
    "person in the image that was sent) or prediction (not a finding). Nothing here is for diagnosis."
)
BINARY: Document = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES}
HEADERS: Mapping[str, str] = {
    NATURE: "What the images are.",
    CLASSES: "The class of each image, percent-encoded, separated by commas; only from models with classes.",
    SEED: "The seed that the images were drawn with; only for synthetic ones.",
    FIRST_INDEX: "The index of the first image, which the others follow; only for synthetic ones.",
}
IMAGES: dict[int | str, Document] = {
    200: {
        "content": BINARY,
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
    }
}
PROBLEMS: dict[int | str, Document] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
TOKEN = [Security(HTTPBearer(auto_error=False))]  # the middleware checks it; here it gives /docs its button


def create_app(predictor: Predictor, admission: Admission) -> FastAPI:
    """Return the application of one model; without any verb it still has its card and its health."""

    async def card() -> Card:
        """Say what the model is and can do."""
        return predictor.card

    app = FastAPI(title="Rayology", description=DESCRIPTION, redoc_url=None, responses=PROBLEMS)
    app.get("/healthz")(healthz)
    app.get("/", dependencies=TOKEN)(card)
    for verb in verbs_of(predictor.card.capabilities):
        endpoint, request_body = ENDPOINTS[verb.request](verb, predictor)
        app.post(
            f"/{verb.name}",
            name=verb.name,
            description=f"{verb.summary} {NATURES[verb.nature]}\n\n{inspect.getdoc(endpoint)}",
            dependencies=TOKEN,
            response_class=Response,
            responses=IMAGES,
            openapi_extra=request_body,
        )(endpoint)

    add_problem_handlers(app, no_such_endpoint=_no_such_endpoint(predictor.card))
    app.add_middleware(AuthAndLimits, admission=admission)
    app.add_middleware(ServerErrors)
    app.add_middleware(VersionHeader, admission=admission, version=predictor.card.version)
    return app


Wanted = Annotated[MediaType, Depends(wanted)]
ClassName = Annotated[str | None, Query(alias="class")]


async def healthz() -> Health:
    """Say that the server answers."""
    return Health()


def _asked_for_new(verb: Verb[GenerateRequest], predictor: Predictor) -> tuple[Endpoint, Document]:
    async def endpoint(asked: GenerateRequest, media_type: Wanted) -> Response:
        """Get a PNG of one image or of a sheet of several, or an NPY of the array in modality units.

        A PNG shows a volume as its middle axial, coronal and sagittal plane, side by side.
        """
        return await _response(await predictor.answer(verb, asked), media_type, predictor.image)

    return endpoint, {}


def _asked_with_images(verb: Verb[ImagesRequest], predictor: Predictor) -> tuple[Endpoint, Document]:
    async def endpoint(request: Request, media_type: Wanted, class_name: ClassName = None) -> Response:
        """Send a PNG, whose grey levels span the model's range, or an NPY in modality units.

        Images may have any size. Volumes come as NPY of (slices, height, width), in exactly the size that the card
        names.
        """
        content_type = request.headers.get("content-type", "")
        read = partial(_decode, await request.body(), content_type, predictor.image)
        answer = await predictor.answer(verb, ImagesRequest(read, class_name))
        return await _response(answer, media_type, predictor.image)

    content = {media_type: BINARY[media_type] for media_type in _taken(predictor.image)}
    return endpoint, {"requestBody": {"content": content, "required": True}}


ENDPOINTS: Mapping[type[object], Callable[[Verb[Any], Predictor], tuple[Endpoint, Document]]] = {
    GenerateRequest: _asked_for_new,
    ImagesRequest: _asked_with_images,
}
"""Endpoint, and what the docs must say about its body, by the type of a verb's request."""


def _no_such_endpoint(card: Card) -> str:
    able, asked = (", ".join(names) or "nothing" for names in (card.capabilities, card.verbs))
    return f"no such endpoint: this model can {able}, and this server offers {asked}; see its card, GET /, and /docs"


def _taken(image: ImageSpec) -> tuple[MediaType, ...]:
    """Return the media types in which the model takes images; a PNG cannot hold a volume."""
    return ("application/x-npy",) if image.is_volume else MEDIA_TYPES


def _decode(body: bytes, content_type: str, image: ImageSpec) -> NDArray[np.float32]:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _taken(image):
        sent = "a volume, as an NPY of (slices, height, width)," if image.is_volume else "the image"
        raise HTTPException(415, f"send {sent} with the Content-Type {' or '.join(_taken(image))}")
    if media_type == "image/png":
        return decode_png(body, image.values, channels=image.channels)
    max_values = max(MAX_VALUES, math.prod(image.shape))
    images = decode_npy(body, channels=image.channels, num_axes=len(image.size), max_values=max_values)
    for each in images:
        check_units(each, image)
    return images


async def _response(answer: Answer, media_type: MediaType, image: ImageSpec) -> Response:
    if media_type == "image/png":
        content = await asyncio.to_thread(encode_png, answer.images, image.values, text=answer.png_text)
    else:
        content = encode_npy(answer.images)
    return Response(content, headers=answer.headers, media_type=media_type)
