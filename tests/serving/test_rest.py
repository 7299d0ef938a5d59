"""What a model's endpoints draw, in which form, and what they refuse to draw."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from tests.serving.conftest import OPEN
from tests.serving.exchanges import JSON, NPY, PNG, ZIP, array_of, refused
from torch import Tensor

from rayology.bundle import Bundle
from rayology.client import Client
from rayology.models import Model, Phase
from rayology.serving import answer
from rayology.serving.rest import RestApp
from rayology.serving.schemas import GenerateRequest


def test_images_come_in_modality_units_as_npy(vae: httpx.Client) -> None:
    answer = vae.post("/generate", json={"count": 3, "seed": 1, "class": "mass"}, headers={"Accept": NPY})

    images = array_of(answer)
    assert images.dtype == np.float32
    assert images.shape == (3, 1, 16, 24)
    assert images.min() >= -1000
    assert images.max() <= 1000
    assert images.std() > 1


def test_a_png_says_that_it_is_synthetic_and_what_made_it(vae: httpx.Client) -> None:
    answer = vae.post("/generate", json={"seed": 5, "class": "mass"})

    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.size == (24, 16)
        assert "Not for diagnosis" in picture.info.pop("Disclaimer")
        assert picture.info == {
            "Nature": "synthetic",
            "Synthetic": "YES",
            "Version": "20260101-000000-0123abcd",
            "Seed": "5",
            "First-Index": "0",
            "Classes": "mass",
        }


def test_a_png_and_an_npy_of_a_seed_show_the_same(vae: httpx.Client) -> None:
    asked = {"count": 1, "seed": 3}

    png = vae.post("/generate", json=asked, headers={"Accept": PNG})
    npy = vae.post("/generate", json=asked, headers={"Accept": NPY})

    with Image.open(BytesIO(png.content)) as picture:
        shown = np.asarray(picture, np.float32) / 255 * 2000 - 1000
    assert np.abs(shown - array_of(npy)[0, 0]).max() <= 1000 / 255 + 1e-3


def test_a_seed_that_was_drawn_is_told_and_can_be_sent_back(gan: httpx.Client) -> None:
    first = gan.post("/generate", json={"count": 2}, headers={"Accept": NPY})
    seed = int(first.headers["x-rayology-seed"])

    again = gan.post("/generate", json={"count": 2, "seed": seed}, headers={"Accept": NPY})

    assert again.content == first.content
    assert gan.post("/generate", json={"count": 2}).headers["x-rayology-seed"] != str(seed)


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/nothing"])
def test_every_answer_names_its_version(gan: httpx.Client, path: str) -> None:
    assert gan.get(path).headers["x-rayology-version"] == "20260101-000000-0123abcd"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", PNG),
        ("image/*", PNG),
        ("application/*", NPY),
        (ZIP, ZIP),
        (f"{NPY}, {PNG}", NPY),
        (f"{NPY};q=0.2, {PNG};q=0.3", PNG),
        (f"text/html, {PNG};q=0, */*;q=0.1", NPY),
        (f"image/*, {PNG};q=0.1, {NPY};q=0.5", NPY),
        (f"text/html, {NPY};q=high, {PNG};q=0.1", PNG),
        (f"{NPY};q=nan, {ZIP};q=0.1", ZIP),
    ],
)
def test_accept_chooses_the_form(gan: httpx.Client, accept: str, expected: str) -> None:
    assert gan.post("/generate", json={}, headers={"Accept": accept}).headers["content-type"] == expected


def test_a_form_that_there_is_not_is_refused(gan: httpx.Client) -> None:
    detail = refused(gan.post("/generate", json={}, headers={"Accept": "text/html"}), 406)

    assert f"name {PNG} or {NPY} or {ZIP}, which images come as" in detail


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"count": -1}', 422, "count: write a number of at least 1"),
        (b'{"count": 10000000}', 422, "ask for 1 to 20"),
        (b'{"count": 1.5}', 422, "count"),
        (b'{"seed": -1}', 422, "seed"),
        (b'{"seed": 9223372036854775808}', 422, "seed"),
        (b'{"seed": null}', 422, "seed"),
        (b'{"first_index": -1}', 422, "first_index"),
        (
            b'{"first_index": 9223372036854775807, "count": 2}',
            422,
            "first_index: the indices must end below",
        ),
        (b'{"count": 0, "first_index": 9223372036854775809}', 422, "first_index: the indices must end below"),
        (b'{"class": "cat"}', 422, "none, nodule, mass"),
        (b'{"number": 3}', 422, "a field is not known: write any of count, seed, first_index, class, exact"),
        (b'{"count": true}', 422, "count"),
        (b'{"count": "3"}', 422, "count"),
        (b'{"count": 1.0}', 422, "count"),
        (b'{"count": NaN}', 400, "not JSON"),
        (b'{"count": 1, "count": 2}', 422, "names a field twice"),
        (b"{" + b",".join(b'"%d": 0' % number for number in range(500)) + b"}", 422, "a field is not known"),
        (b'{"count": 1', 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 10_000, 400, "not JSON"),
        (b"[1]", 422, "not a JSON object"),
        (b"", 422, "not a JSON object"),
        (b" " * 200_000, 413, "at most 10000 bytes"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_to_send(
    vae: httpx.Client, body: bytes, status: int, said: str
) -> None:
    answer = vae.post("/generate", content=body, headers={"Content-Type": JSON})

    assert said in refused(answer, status)


def test_json_sent_as_a_form_is_refused_with_the_type_to_send(gan: httpx.Client) -> None:
    answer = gan.post("/generate", content=b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert JSON in refused(answer, 415)


def test_a_model_without_classes_refuses_one(gan: httpx.Client) -> None:
    assert "leave the class out" in refused(gan.post("/generate", json={"class": "mass"}), 422)


def test_another_method_is_refused(gan: httpx.Client) -> None:
    answer = gan.get("/generate")

    assert "GET is not allowed" in refused(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_the_docs_show_only_what_the_model_can_do(vae: httpx.Client, gan: httpx.Client) -> None:
    of_both = {"/", "/healthz", "/readyz", "/metrics", "/generate", "/interpolate"}

    assert set(vae.get("/openapi.json").json()["paths"]) == {*of_both, "/reconstruct", "/encode", "/decode"}
    assert set(gan.get("/openapi.json").json()["paths"]) == of_both


def test_an_array_says_what_a_picture_does(vae: httpx.Client) -> None:
    asked = {"count": 4, "seed": 3, "first_index": 2}

    npy = vae.post("/generate", json=asked, headers={"Accept": NPY})
    png = vae.post("/generate", json=asked, headers={"Accept": PNG})

    said = {name: value for name, value in npy.headers.items() if name.startswith("x-rayology-")}
    assert (said["x-rayology-seed"], said["x-rayology-first-index"]) == ("3", "2")
    assert said["x-rayology-nature"] == "synthetic"
    assert len(said["x-rayology-classes"].split(",")) == 4
    assert {name: value for name, value in png.headers.items() if name.startswith("x-rayology-")} == said
    with Image.open(BytesIO(png.content)) as picture:
        assert {
            f"x-rayology-{str(name).lower()}": value for name, value in picture.info.items()
        }.items() >= said.items()


def test_a_model_without_classes_names_none(gan: httpx.Client) -> None:
    assert "x-rayology-classes" not in gan.post("/generate", json={}).headers


def test_the_docs_tell_the_nature_of_each_answer(vae: httpx.Client) -> None:
    paths = vae.get("/openapi.json").json()["paths"]
    said = {name: paths[f"/{name}"]["post"]["description"] for name in ("generate", "reconstruct", "decode")}

    assert "Synthetic: a model drew it, and it shows nobody. Not for diagnosis." in said["generate"]
    for name in ("reconstruct", "decode"):
        assert "Derived from what was sent: it shows the same person. Not for diagnosis." in said[name]


def test_classes_that_do_not_fit_into_a_header_are_refused_before_a_proxy_does(
    vae: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "MAX_CLASSES_BYTES", 20)  # names as long as a folder's would take a bundle of their own

    assert vae.post("/generate", json={"count": 4, "class": "mass"}).status_code == 200
    refusal = vae.post("/generate", json={"count": 5, "class": "mass"})
    assert "the classes of 5 images do not fit into a header" in refused(refusal, 422)


@pytest.fixture
def classifier(
    vae_bundle: Bundle, make_app: Callable[..., RestApp], open_session: Callable[[RestApp], httpx.Client]
) -> httpx.Client:
    """A session with a model that can do nothing that a server offers."""
    manifest = vae_bundle.manifest.model_copy(update={"capabilities": ("classify",)})
    return open_session(make_app(replace(vae_bundle, manifest=manifest), OPEN, Classifier(vae_bundle.manifest.image)))


class Classifier(Model):
    """Answers that every image is of the first class."""

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def class_logits(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), len(self.image.classes))


def test_a_model_that_can_be_asked_nothing_has_its_card_and_its_health(classifier: httpx.Client) -> None:
    card = classifier.get("/").json()

    assert (card["capabilities"], card["verbs"]) == (["classify"], {})
    assert classifier.get("/healthz").json() == {"status": "ok"}
    assert set(classifier.get("/openapi.json").json()["paths"]) == {"/", "/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize("path", ["/generate", "/reconstruct", "/classify"])
def test_what_a_model_cannot_be_asked_is_refused_with_what_it_can_do(classifier: httpx.Client, path: str) -> None:
    detail = refused(classifier.post(path, json={}), 404)

    assert "this model can classify, and this server offers nothing" in detail


def test_what_is_not_offered_is_refused_with_what_is(gan: httpx.Client) -> None:
    assert "this model can generate, and this server offers generate" in refused(gan.post("/reconstruct"), 404)


def test_the_log_names_verb_version_and_outcome_and_nothing_that_a_caller_wrote(
    vae: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rayology")

    vae.post("/generate?name=Doe", json={"seed": 4711, "class": "nodule"}, headers={"X-Request-ID": "Doe"})
    vae.post("/Doe", json={"Doe": "Doe"})
    vae.post("/generate", json={"class": "Doe"})

    lines = [re.sub(r"[\d.]+ ms", "", line) for line in caplog.messages]
    version = "20260101-000000-0123abcd"
    assert lines == [f"generate {version} 200, ", f"- {version} 404, ", f"generate {version} 422, "]


def test_the_docs_fetch_nothing_and_show_every_endpoint_and_field(vae: httpx.Client) -> None:
    page = vae.get("/docs").text

    assert not re.search(r"(src|href)=['\"](?!data:|#|/openapi\.json)", page)
    assert all(f"POST /{verb}" in page for verb in ("generate", "reconstruct", "encode", "decode"))
    assert all(f"<td>{field}</td>" in page for field in GenerateRequest.model_json_schema()["properties"])
    assert "curl" in page


def test_the_description_is_openapi(vae: httpx.Client, gan: httpx.Client, volumes: httpx.Client) -> None:
    for session in (vae, gan, volumes):
        described = session.get("/openapi.json").json()
        names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(described)))

        assert described["openapi"].startswith("3.1")
        assert names <= set(described["components"]["schemas"])
        for operations in described["paths"].values():
            for operation in operations.values():
                assert {"200", "4XX", "5XX"} <= operation["responses"].keys()


def test_a_head_is_a_get_and_other_methods_are_refused(vae: httpx.Client) -> None:
    assert vae.head("/").status_code == 200
    answer = vae.delete("/")
    refused(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("query", ["exact=yes", "name=Doe"])
def test_a_wrong_query_is_refused_without_repeating_it(vae: httpx.Client, image_file: Path, query: str) -> None:
    answer = vae.post(
        f"/reconstruct?class=mass&{query}", content=image_file.read_bytes(), headers={"Content-Type": PNG}
    )

    assert "Doe" not in refused(answer, 422)


def test_exact_images_differ_from_others_in_the_last_bits_at_most(vae_transport: httpx.BaseTransport) -> None:
    client = Client("http://model", transport=vae_transport)
    served, exact = (client.generate(count=3, seed=1, exact=flag).images for flag in (False, True))

    assert np.allclose(served, exact, atol=0.5)  # HU of 2,000
