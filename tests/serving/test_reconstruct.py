"""Images sent to be reconstructed: which are taken, and what is said of others."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image
from tests.serving.conftest import IMAGE, OPEN, VOLUME
from tests.serving.exchanges import NPY, PNG, array_of, npy_of, refused

from rayology.bundle import Bundle
from rayology.data import PreparedDataset
from rayology.image import ValueRange
from rayology.models import VaeConfig


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


@pytest.fixture(scope="module")
def thorax(data: PreparedDataset) -> NDArray[np.float32]:
    """A slice of the phantom, in Hounsfield units."""
    return data.split("train").stored(np.array([0]))[0, 0].astype(np.float32) / 4095 * 2000 - 1000


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda hu: 3 * hu, "much of it lies far outside"),
        (lambda hu: hu - 1024, "much of it lies far outside"),
        (lambda hu: hu + 32768, "all of it lies outside"),
        (lambda hu: hu + 1024, "lacks the values below 0 of air and fat"),
        (lambda hu: np.where(hu == hu.min(), -500, hu + 1024), "lacks the values below 0"),  # around the field of view
        (lambda hu: (hu + 1000) / 2000, "lie too close together"),
        (lambda hu: hu / 1000, "lie too close together"),
        (lambda hu: ((hu + 1000) / 2000 * 255).astype(np.uint8), "lie too close together"),
    ],
)
def test_an_image_in_other_units_is_refused_with_what_it_holds(
    vae: httpx.Client, thorax: NDArray[np.float32], change: Callable[..., NDArray[np.generic]], problem: str
) -> None:
    sent = change(thorax)

    answer = vae.post("/reconstruct?class=mass", content=npy_of(sent), headers={"Content-Type": NPY})

    said = refused(answer, 422)
    assert said.startswith(f"an image holds {sent.min():g} to {sent.max():g}, 99 % of it ")
    assert "the model takes -1000 to 1000 (HU): " in said
    assert problem in said


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: hu,
        lambda hu: np.rint(hu).astype(np.int16),
        lambda hu: np.where(np.arange(hu.size).reshape(hu.shape) % 5 == 0, -3024, hu),  # around a round field of view
        lambda hu: np.where(np.arange(hu.size).reshape(hu.shape) % 50 == 0, 3000, hu),  # metal
        lambda hu: np.where(hu > -500, 40.0, -1000.0),
        lambda hu: np.full_like(hu, 0.5),
    ],
)
def test_an_image_in_the_models_units_is_taken_whatever_else_it_holds(
    vae: httpx.Client, thorax: NDArray[np.float32], change: Callable[..., NDArray[np.generic]]
) -> None:
    answer = vae.post("/reconstruct?class=mass", content=npy_of(change(thorax)), headers={"Content-Type": NPY})

    assert answer.status_code == 200


@pytest.mark.parametrize("scale", [1 / 255, 100, 255])
def test_fractions_percents_and_bytes_are_told_apart(
    make_bundle: Callable[..., Bundle],
    make_app: Callable[..., FastAPI],
    open_session: Callable[[FastAPI], httpx.Client],
    thorax: NDArray[np.float32],
    scale: float,
) -> None:
    values = ValueRange(low=0, high=1, unit="fraction of the series' range")
    model = open_session(make_app(make_bundle(VaeConfig(), IMAGE.patched({"values": values})), OPEN))
    fractions = (thorax + 1000) / 2000

    right, wrong = (
        model.post("/reconstruct?class=mass", content=npy_of(each), headers={"Content-Type": NPY})
        for each in (fractions, fractions * scale)
    )

    assert right.status_code == 200
    assert "the model takes 0 to 1 (fraction" in refused(wrong, 422)


def test_a_patch_may_show_a_single_tissue_if_it_is_small(
    make_bundle: Callable[..., Bundle],
    make_app: Callable[..., FastAPI],
    open_session: Callable[[FastAPI], httpx.Client],
) -> None:
    tissue = 40 + 20 * np.random.default_rng(0).standard_normal((16, 16, 24))

    def answer(sent: NDArray[np.float64], spacing_mm: float) -> httpx.Response:
        model = open_session(make_app(make_bundle(VaeConfig(), VOLUME.patched({"spacing_mm": spacing_mm})), OPEN))
        return model.post("/reconstruct?class=mass", content=npy_of(sent), headers={"Content-Type": NPY})

    assert answer(tissue, 1).status_code == 200
    assert "lie too close together" in refused(answer(tissue, 4), 422)
    assert "lie too close together" in refused(answer(tissue / 1000, 1), 422)


def test_an_array_that_is_wrong_is_said_before_its_class_is_missed(vae: httpx.Client) -> None:
    answer = vae.post("/reconstruct", content=npy_of(np.zeros(8)), headers={"Content-Type": NPY})

    assert "shape" in refused(answer, 422)


def test_a_conditional_model_asks_for_the_class_of_an_image(vae: httpx.Client) -> None:
    answer = vae.post("/reconstruct", content=npy_of(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "?class=" in refused(answer, 422)


def test_a_model_that_only_generates_has_no_reconstruct(gan: httpx.Client) -> None:
    answer = gan.post("/reconstruct", content=npy_of(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "no such endpoint" in refused(answer, 404)
