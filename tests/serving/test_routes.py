"""What a model's endpoints draw, in which form, and what they refuse to draw."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from tests.serving.conftest import LIMITS, OPEN
from tests.serving.exchanges import JSON, NPY, PNG, array_of, refused
from torch import Tensor

from rayology.bundle import Bundle
from rayology.models import Model, Phase
from rayology.serving import answer
from rayology.serving.predictor import Predictor, card_of
from rayology.serving.routes import create_app


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
        (f"{NPY}, {PNG}", NPY),
        (f"{NPY};q=0.2, {PNG};q=0.3", PNG),
        (f"text/html, {PNG};q=0, */*;q=0.1", PNG),
        (f"text/html, {NPY};q=high, {PNG};q=0.1", PNG),
    ],
)
def test_accept_chooses_the_form(gan: httpx.Client, accept: str, expected: str) -> None:
    assert gan.post("/generate", json={}, headers={"Accept": accept}).headers["content-type"] == expected


def test_a_form_that_there_is_not_is_refused(gan: httpx.Client) -> None:
    detail = refused(gan.post("/generate", json={}, headers={"Accept": "text/html"}), 406)

    assert PNG in detail
    assert NPY in detail


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"count": -1}', 422, "count: Input should be greater than or equal to 1"),
        (b'{"count": 10000000}', 422, "ask for 1 to 20"),
        (b'{"count": 1.5}', 422, "count"),
        (b'{"seed": -1}', 422, "seed"),
        (b'{"seed": 9223372036854775808}', 422, "seed"),
        (b'{"seed": null}', 422, "seed"),
        (b'{"first_index": -1}', 422, "first_index"),
        (
            b'{"first_index": 9223372036854775807, "count": 2}',
            422,
            "first_index: Value error, the indices must end below",
        ),
        (b'{"count": 0, "first_index": 9223372036854775809}', 422, "first_index: Value error"),
        (b'{"class": "cat"}', 422, "none, nodule, mass"),
        (b'{"number": 3}', 422, "number: Extra inputs"),
        (b'{"count": 1', 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[1]", 422, "not a JSON object"),
        (b"", 422, "not a JSON object"),
        (b" " * 200_000, 413, "at most 100000 bytes"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_to_send(
    vae: httpx.Client, body: bytes, status: int, said: str
) -> None:
    answer = vae.post("/generate", content=body, headers={"Content-Type": JSON})

    assert said in refused(answer, status)


def test_json_sent_as_a_form_is_refused_with_the_type_to_send(gan: httpx.Client) -> None:
    answer = gan.post("/generate", content=b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"})

    assert JSON in refused(answer, 422)


def test_a_model_without_classes_refuses_one(gan: httpx.Client) -> None:
    assert "leave the class out" in refused(gan.post("/generate", json={"class": "mass"}), 422)


def test_another_method_is_refused(gan: httpx.Client) -> None:
    answer = gan.get("/generate")

    assert "GET is not allowed" in refused(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_the_docs_show_only_what_the_model_can_do(vae: httpx.Client, gan: httpx.Client) -> None:
    assert set(vae.get("/openapi.json").json()["paths"]) == {"/", "/healthz", "/generate", "/reconstruct"}
    assert set(gan.get("/openapi.json").json()["paths"]) == {"/", "/healthz", "/generate"}


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
    said = {name: paths[f"/{name}"]["post"]["description"] for name in ("generate", "reconstruct")}

    assert "Synthetic: a model drew it, and it shows nobody. Not for diagnosis." in said["generate"]
    assert "Derived from what was sent: it shows the same person. Not for diagnosis." in said["reconstruct"]


def test_classes_that_do_not_fit_into_a_header_are_refused_before_a_proxy_does(
    vae: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "MAX_CLASSES_BYTES", 20)  # names as long as a folder's would take a bundle of their own

    assert vae.post("/generate", json={"count": 4, "class": "mass"}).status_code == 200
    refusal = vae.post("/generate", json={"count": 5, "class": "mass"})
    assert "the classes of 5 images do not fit into a header" in refused(refusal, 422)


@pytest.fixture
def classifier(vae_bundle: Bundle, open_session: Callable[[FastAPI], httpx.Client]) -> httpx.Client:
    """A session with a model that can do nothing that a server offers."""
    manifest = vae_bundle.manifest.model_copy(update={"capabilities": ("classify",)})
    model = Classifier(vae_bundle.manifest.image)
    card = card_of(replace(vae_bundle, manifest=manifest), model, version="v", limits=LIMITS)
    return open_session(create_app(Predictor(model, card, batch_size=4, num_threads=1), OPEN))


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
    assert set(classifier.get("/openapi.json").json()["paths"]) == {"/", "/healthz"}


@pytest.mark.parametrize("path", ["/generate", "/reconstruct", "/classify"])
def test_what_a_model_cannot_be_asked_is_refused_with_what_it_can_do(classifier: httpx.Client, path: str) -> None:
    detail = refused(classifier.post(path, json={}), 404)

    assert "this model can classify, and this server offers nothing" in detail


def test_what_is_not_offered_is_refused_with_what_is(gan: httpx.Client) -> None:
    assert "this model can generate, and this server offers generate" in refused(gan.post("/reconstruct"), 404)
