"""The endpoints of one model, one function each."""

import asyncio
import math
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from numpy.typing import NDArray

from rayology.image import ImageSpec
from rayology.serving.codecs import MAX_VALUES, decode_npy, decode_png, encode_npy, encode_png
from rayology.serving.generator import Drawn, Generator
from rayology.serving.guard import Admission, Guard, Signed
from rayology.serving.negotiation import MEDIA_TYPES, MediaType, wanted
from rayology.serving.problems import Failsafe, add_problem_handlers
from rayology.serving.schemas import Card, GenerateRequest, Health, Problem

__all__ = ["create_app"]

DESCRIPTION = "Every image is synthetic: made by a model, of no patient, and not for diagnosis."
Responses = dict[int | str, dict[str, object]]
BINARY: dict[str, object] = {
    media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES
}

IMAGES: Responses = {200: {"content": BINARY}}
PROBLEMS: Responses = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
TOKEN = [Security(HTTPBearer(auto_error=False))]  # the guard checks it; here it gives /docs its button


def create_app(generator: Generator, admission: Admission) -> FastAPI:
    """Return the application of one model, with the endpoints that the model is capable of."""
    app = FastAPI(title="Rayology", description=DESCRIPTION, redoc_url=None, responses=PROBLEMS)
    app.state.generator = generator
    app.get("/healthz")(healthz)
    app.get("/", dependencies=TOKEN)(card)
    app.post("/generate", dependencies=TOKEN, response_class=Response, responses=IMAGES)(generate)
    if "reconstruct" in generator.card.capabilities:
        content = {media_type: BINARY[media_type] for media_type in _taken(generator.image)}
        body = {"requestBody": {"content": content, "required": True}}
        image_in = app.post(
            "/reconstruct", dependencies=TOKEN, response_class=Response, responses=IMAGES, openapi_extra=body
        )
        image_in(reconstruct)

    add_problem_handlers(app)
    app.add_middleware(Guard, admission=admission)
    app.add_middleware(Failsafe)
    app.add_middleware(Signed, admission=admission, headers={"X-Rayology-Version": generator.card.version})
    return app


def _served(request: Request) -> Generator:
    generator: Generator = request.app.state.generator
    return generator


Served = Annotated[Generator, Depends(_served)]
Wanted = Annotated[MediaType, Depends(wanted)]


async def card(generator: Served) -> Card:
    """Say what the model is and can do."""
    return generator.card


async def healthz() -> Health:
    """Say that the server answers."""
    return Health()


async def generate(asked: GenerateRequest, generator: Served, media_type: Wanted) -> Response:
    """Draw images: as PNG one image or a sheet of several, as NPY the array in modality units.

    A PNG shows a volume as its middle axial, coronal and sagittal plane, side by side.
    """
    seed = secrets.randbelow(2**53) if asked.seed is None else asked.seed  # JavaScript keeps integers up to 2^53
    drawn = await generator.generate(count=asked.count, seed=seed, class_name=asked.class_name)
    return await _answer(drawn, media_type, generator, seed=str(seed))


async def reconstruct(
    request: Request,
    generator: Served,
    media_type: Wanted,
    class_name: Annotated[str | None, Query(alias="class")] = None,
) -> Response:
    """Encode and decode a PNG, whose grey levels span the model's range, or an NPY in modality units.

    Images may have any size. Volumes come as NPY of (slices, height, width), in exactly the size that the card names.
    """
    content_type = request.headers.get("content-type", "")
    read = partial(_decode, await request.body(), content_type, generator.image)
    drawn = await generator.reconstruct(read, class_name=class_name)
    return await _answer(drawn, media_type, generator)


def _taken(image: ImageSpec) -> tuple[MediaType, ...]:
    """Return the forms in which the model takes images; a PNG holds no volume."""
    return ("application/x-npy",) if image.is_volume else MEDIA_TYPES


def _decode(body: bytes, content_type: str, image: ImageSpec) -> NDArray[np.float32]:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _taken(image):
        sent = "a volume, as an NPY of (slices, height, width)," if image.is_volume else "the image"
        raise HTTPException(415, f"send {sent} with the Content-Type {' or '.join(_taken(image))}")
    if media_type == "image/png":
        return decode_png(body, image.values, channels=image.channels)
    max_values = max(MAX_VALUES, math.prod(image.shape))
    return decode_npy(body, channels=image.channels, num_axes=len(image.size), max_values=max_values)


async def _answer(drawn: Drawn, media_type: MediaType, generator: Generator, *, seed: str = "") -> Response:
    headers = {"X-Rayology-Synthetic": "YES"} | ({"X-Rayology-Seed": seed} if seed else {})
    if media_type == "image/png":
        text = _marks(drawn, version=generator.card.version, seed=seed)
        content = await asyncio.to_thread(encode_png, drawn.images, generator.image.values, text=text)
    else:
        content = encode_npy(drawn.images)
    return Response(content, headers=headers, media_type=media_type)


def _marks(drawn: Drawn, *, version: str, seed: str) -> Mapping[str, str]:
    """Return what a PNG says of itself; of several classes, that of each image in order."""
    classes = ", ".join(drawn.classes if len(set(drawn.classes)) > 1 else drawn.classes[:1])
    marks = {"Synthetic": "YES", "Model": version, "Seed": seed, "Class": classes}
    return {key: value for key, value in marks.items() if value}
