"""What a model's endpoints draw, in which form, and what they refuse to draw."""

from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.serving.exchanges import JSON, NPY, PNG, array_of, refused


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
        expected = {"Synthetic": "YES", "Model": "20260101-000000-0123abcd", "Seed": "5", "Class": "mass"}
        assert picture.info == expected


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
        (b'{"class": "cat"}', 422, "none, nodule, mass"),
        (b'{"number": 3}', 422, "number: Extra inputs"),
        (b'{"count": 1', 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),
        (b"[1]", 422, "no JSON object"),
        (b"", 422, "no JSON object"),
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
