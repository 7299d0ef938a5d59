"""What the endpoints of a model take and answer: for machines as OpenAPI 3.1, and for people as a page."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pydantic.json_schema import models_json_schema

from rayology.page import page, safe, table
from rayology.serving.answer import CLASSES, FIRST_INDEX, NATURE, SEED, VERSION
from rayology.serving.negotiation import ANSWERED, taken
from rayology.serving.schemas import NATURES, Card, GenerateRequest, Health, InterpolateRequest, Problem
from rayology.serving.verbs import Content, ImagesRequest, LatentsRequest, SentRequest, Verb, verbs_of

__all__ = ["docs", "openapi"]

Document = dict[str, object]

DESCRIPTION = (
    f"Every answer tells its nature in the header {NATURE}: synthetic (shows nobody), derived (shows the "
    "person in the image that was sent) or prediction (not a finding). Nothing here is for diagnosis."
)
HEADERS: Mapping[str, str] = {
    VERSION: "The version that answers.",
    NATURE: "What the images are.",
    CLASSES: "The class of each image, percent-encoded, separated by commas; only from models with classes.",
    SEED: "The seed that the images were drawn with; only for synthetic ones.",
    FIRST_INDEX: "The index of the first image, which the others follow; only for synthetic ones.",
}
PIN: Document = {
    "name": VERSION,
    "in": "header",
    "description": "The version that is to answer, if it is not to be the champion or its canary.",
    "schema": {"type": "string"},
}
GET: Mapping[Content, str] = {
    "images": "Get a PNG of one image or a sheet of several, a ZIP with a PNG of each, or an NPY of the array in "
    "modality units. A PNG shows a volume as its middle axial, coronal and sagittal plane, side by side.",
    "latents": "Get an NPY of (count, channels, *size), whose last axes the card names as latent.",
}
SEND: Mapping[type[SentRequest], str] = {
    ImagesRequest: "Send a PNG, whose grey levels span the model's range, or an NPY in modality units. Images may have "
    "any size. Volumes come as NPY of (slices, height, width), in exactly the size that the card names.",
    LatentsRequest: "Send an NPY of (count, channels, *size), whose last axes the card names as latent; one may come "
    "without count.",
}
EXAMPLES: Mapping[type[object], Document] = {
    GenerateRequest: {"count": 16, "seed": 7},
    InterpolateRequest: {"count": 8, "seed": 7, "to_seed": 8},
}
SUFFIXES = {"image/png": "png", "application/x-npy": "npy"}
VOLUME_AXES = 3
PAGES: Mapping[str, tuple[type[Card | Health], str]] = {
    "/": (Card, "Say what the model is and can do."),
    "/healthz": (Health, "Say that the server answers."),
    "/readyz": (Health, "Say whether the server serves what its store names."),
}


def openapi(card: Card) -> Document:
    """Describe the endpoints of a model (OpenAPI Specification 3.1)."""
    return _described(card.capabilities, is_volume=len(card.image.size) == VOLUME_AXES)


def docs(card: Card, root: str) -> bytes:
    """Return a page that says the same to people, and fetches nothing."""
    return _page(card.capabilities, len(card.image.size) == VOLUME_AXES, root)


@cache  # it takes milliseconds, and who asks needs no token
def _described(capabilities: tuple[str, ...], *, is_volume: bool) -> Document:
    messages = [(message, "validation") for message in (Card, *EXAMPLES, Health, Problem)]
    _, schemas = models_json_schema(messages, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type] # its modes are literals
    paths: Document = {
        path: {
            "get": {
                **_operation(about, {"content": {"application/json": _schema(answer)}}, is_open=path == "/healthz"),
                "parameters": [] if path == "/healthz" else [PIN],
            }
        }
        for path, (answer, about) in PAGES.items()
    }
    metrics = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    paths["/metrics"] = {
        "get": {**_operation("Count requests and batches, for Prometheus.", metrics), "parameters": [PIN]}
    }
    for verb in verbs_of(capabilities):
        paths[f"/{verb.name}"] = {"post": _asking(verb, is_volume=is_volume)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rayology", "description": DESCRIPTION, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


@cache
def _page(capabilities: tuple[str, ...], is_volume: bool, root: str) -> bytes:  # noqa: FBT001 - as the cache takes it
    return page("Endpoints", _sections(_described(capabilities, is_volume=is_volume), root))


def _asking(verb: Verb[object], *, is_volume: bool) -> Document:
    """Describe the endpoint of a verb."""
    about, options = GET[verb.answers], dict[str, Document]()
    body: Mapping[str, Document]
    if issubclass(verb.request, SentRequest):
        about, options = f"{SEND[verb.request]} {about}", {"class": {"type": "string"}, "exact": {"type": "boolean"}}
        body = _binary(taken(is_volume=is_volume) if verb.request is ImagesRequest else ANSWERED["latents"])
    else:
        body = {"application/json": {**_schema(verb.request), "example": EXAMPLES[verb.request]}}
    answer = {
        "content": _binary(ANSWERED[verb.answers]),
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()},
    }
    return {
        **_operation(f"{verb.summary} {NATURES[verb.nature]}\n\n{about}", answer),
        "operationId": verb.name,
        "parameters": [PIN, *({"name": name, "in": "query", "schema": schema} for name, schema in options.items())],
        "requestBody": {"content": body, "required": True},
    }


def _operation(about: str, answer: Mapping[str, object], *, is_open: bool = False) -> Document:
    problem = {
        "description": "What was wrong, and what to send instead.",
        "content": {"application/problem+json": _schema(Problem)},
    }
    return {
        "summary": about.partition("\n")[0],
        "description": about,
        "security": [] if is_open else [{"bearer": []}],
        "responses": {"200": {"description": "The answer.", **answer}, "4XX": problem, "5XX": problem},
    }


def _binary(media_types: Iterable[str]) -> Mapping[str, Document]:
    return {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}


def _schema(message: type[object]) -> Document:
    return {"schema": {"$ref": f"#/components/schemas/{message.__name__}"}}


def _sections(described: Document, root: str) -> Iterator[str]:
    yield f"<p>{safe(DESCRIPTION)} The same for machines: <a href='{safe(root)}/openapi.json'>openapi.json</a>.</p>"
    paths: Mapping[str, Mapping[str, Document]] = described["paths"]  # type: ignore[assignment] # as openapi writes it
    for path, operations in paths.items():
        for method, operation in operations.items():
            yield f"<h2>{method.upper()} {safe(root + path)}</h2>"
            yield "".join(f"<p>{safe(part)}</p>" for part in str(operation["description"]).split("\n\n"))
            if method == "post":
                yield f"<pre>{safe(_curl(root + path, operation))}</pre>"
    yield "<h2>Headers of an answer</h2>"
    yield table(HEADERS.items())
    yield f"<p>A request with {safe(PIN['name'])} is answered by the version that it names.</p>"
    schemas: Mapping[str, Document] = described["components"]["schemas"]  # type: ignore[index] # as above
    for name, schema in schemas.items():
        yield f"<h2>{safe(name)}</h2><p>{safe(schema.get('description', ''))}</p>"
        fields: Mapping[str, Document] = schema.get("properties", {})  # type: ignore[assignment] # as above
        yield table(
            (
                (
                    field,
                    _type(about),
                    str(about.get("description", "")).replace("``", ""),
                    json.dumps(about["default"]) if "default" in about else "",
                )
                for field, about in fields.items()
            ),
            head=("field", "type", "what it is", "default"),
        )


def _curl(path: str, operation: Document) -> str:
    content: Mapping[str, Document] = operation["requestBody"]["content"]  # type: ignore[index] # as above
    answer: Mapping[str, Document] = operation["responses"]["200"]["content"]  # type: ignore[index] # as above
    media_type, sent = next(iter(content.items()))
    body = f"'{json.dumps(sent['example'])}'" if "example" in sent else f"@sent.{SUFFIXES[media_type]}"
    return (
        'curl --fail-with-body -H "Authorization: Bearer $RAYOLOGY_TOKEN" '
        f'-H "Content-Type: {media_type}" --data-binary {body} -o answer.{SUFFIXES[next(iter(answer))]} http://HOST{path}'
    )


def _type(about: Document) -> str:
    """Say of what type a field is."""
    match about:
        case {"$ref": str(place)}:
            return place.rpartition("/")[2]
        case {"anyOf": list(kinds)}:
            return " or ".join(dict.fromkeys(_type(kind) for kind in kinds))
        case {"enum": list(values)}:
            return " or ".join(map(str, values))
        case {"type": "array"}:
            return "list"
        case _:
            return str(about.get("type", "object"))
