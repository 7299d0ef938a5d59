"""Images sent to be reconstructed: which are taken, and what is said of others."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.serving.exchanges import NPY, PNG, array_of, npy_of, refused


def test_a_png_and_an_npy_are_reconstructed(vae: httpx.Client, image_file: Path) -> None:
    picture = image_file.read_bytes()
    slice_hu = np.zeros((30, 40), np.float32)

    for content_type, body in ((PNG, picture), (f"{NPY}; charset=utf-8", npy_of(slice_hu))):
        headers = {"Content-Type": content_type, "Accept": NPY}
        answer = vae.post("/reconstruct", params={"class": "mass"}, content=body, headers=headers)

        assert array_of(answer).shape == (1, 1, 16, 24)
        assert answer.headers["x-rayology-classes"] == "mass"
        assert "x-rayology-seed" not in answer.headers
        assert "x-rayology-first-index" not in answer.headers


def test_what_is_made_of_an_image_is_derived_and_never_called_synthetic(vae: httpx.Client, image_file: Path) -> None:
    headers = {"Content-Type": PNG, "Accept": PNG}

    answer = vae.post("/reconstruct?class=mass", content=image_file.read_bytes(), headers=headers)

    assert answer.headers["x-rayology-nature"] == "derived"
    with Image.open(BytesIO(answer.content)) as picture:
        said = {name: value for name, value in picture.info.items() if name != "Disclaimer"}
        assert said == {"Nature": "derived", "Version": "20260101-000000-0123abcd", "Classes": "mass"}
        assert "it shows the same person. Not for diagnosis" in picture.info["Disclaimer"]


@pytest.mark.parametrize(
    ("content_type", "body", "status", "said"),
    [
        (PNG, b"hello", 422, "not a PNG"),
        (NPY, b"hello", 422, "not an NPY"),
        (
            NPY,
            npy_of(np.zeros((4, 0))).replace(b"(4, 0), }" + b" " * 21, b"(4611686018427387904, 4, 0), }"),
            422,
            "axis",
        ),
        ("text/plain", b"hello", 415, "image/png or application/x-npy"),
        ("", b"hello", 415, "image/png or application/x-npy"),
    ],
)
def test_a_body_that_is_no_image_is_refused(
    vae: httpx.Client, content_type: str, body: bytes, status: int, said: str
) -> None:
    answer = vae.post("/reconstruct?class=mass", content=body, headers={"Content-Type": content_type})

    assert said in refused(answer, status)


@pytest.mark.parametrize("value", [-1e9, 1e9])
def test_an_image_that_lies_outside_the_models_values_is_refused_with_them(vae: httpx.Client, value: float) -> None:
    answer = vae.post(
        "/reconstruct?class=mass", content=npy_of(np.full((16, 24), value)), headers={"Content-Type": NPY}
    )

    assert "the model takes -1000 to 1000 (HU)" in refused(answer, 422)


def test_a_conditional_model_asks_for_the_class_of_an_image(vae: httpx.Client) -> None:
    answer = vae.post("/reconstruct", content=npy_of(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "?class=" in refused(answer, 422)


def test_a_model_that_only_generates_has_no_reconstruct(gan: httpx.Client) -> None:
    answer = gan.post("/reconstruct", content=npy_of(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "no such endpoint" in refused(answer, 404)
