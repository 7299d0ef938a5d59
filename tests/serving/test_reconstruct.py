"""Images sent to be reconstructed: which are taken, and what is said of others."""

from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests.serving.conftest import IMAGE, OPEN
from tests.serving.exchanges import NPY, PNG, array_of, npy_of, refused

from rayology.bundle import Bundle
from rayology.data import FolderConfig, PreparationConfig, PreparedDataset
from rayology.data.prepare import prepare
from rayology.errors import RequestError
from rayology.image import ImageSpec, ValueRange, from_model_range, to_model_range, to_stored
from rayology.models import VaeConfig
from rayology.serving.rest import RestApp
from rayology.serving.units import check_units


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
        (lambda hu: ((hu + 1000) / 2000 * 255).astype(np.uint8), "lacks the values below 0"),
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


@pytest.mark.parametrize("scale", [100, 255])
def test_fractions_percents_and_bytes_are_told_apart(
    make_bundle: Callable[..., Bundle],
    make_app: Callable[..., RestApp],
    open_session: Callable[[RestApp], httpx.Client],
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


HU = ImageSpec()
GREY = {"low": 0, "high": 255, "unit": "grey level", "levels": 256}
PATCHES = ImageSpec(size=(16, 16, 16), spacing_mm=4)
RNG = np.random.default_rng(0)


def prepared(stored: NDArray[np.uint16], values: ValueRange) -> Iterable[NDArray[np.float32]]:
    yield from from_model_range(to_model_range(torch.from_numpy(stored.astype(np.float32)), values), values).numpy()


def window(low: float, high: float) -> ValueRange:
    return ValueRange(low=low, high=high)


@pytest.fixture(scope="module")
def head(head_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.float32]]:
    """Slices of a head, as a dataset holds all of their Hounsfield units."""
    wide = PreparationConfig(window=window(-1024, 3071))
    train = prepare(FolderConfig(path=head_folder), wide, tmp_path_factory.mktemp("head")).split("train")
    return list(prepared(train.stored(np.arange(len(train))), wide.window))


@pytest.mark.parametrize(
    "values",
    [window(*ends) for ends in [(-1000, 1000), (-50, 350), (-40, 400), (-20, 480), (-49, 1000), (-101, 300), (0, 80)]],
)
@pytest.mark.parametrize("is_volume", [False, True])
def test_whatever_a_dataset_of_ct_holds_is_taken(
    head: list[NDArray[np.float32]], values: ValueRange, *, is_volume: bool
) -> None:
    for image in prepared(to_stored(np.stack(head), values), values):
        if is_volume:
            check_units(np.stack([image] * 16, 1)[..., 24:40, 24:40], PATCHES.patched({"values": values}))
        else:
            check_units(image, HU.patched({"values": values}))


def test_whatever_a_dataset_of_mr_and_of_the_phantom_holds_is_taken(
    data: PreparedDataset, brain_folder: Path, tmp_path: Path
) -> None:
    for dataset in (data, prepare(FolderConfig(path=brain_folder), PreparationConfig(), tmp_path)):
        train, spec = dataset.split("train"), dataset.info.image
        for image in prepared(train.stored(np.arange(len(train))), spec.values):
            check_units(image, spec)


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: 3 * hu,
        lambda hu: hu + 1024,
        lambda hu: np.where(hu == hu.min(), -2000, hu + 1024),
        lambda hu: (hu + 1000) / 2000,
        lambda hu: hu / 1000,
        lambda hu: ((hu + 1000) / 2000 * 255).astype(np.uint8),
    ],
)
def test_no_slice_of_a_head_in_other_units_is_taken(
    head: list[NDArray[np.float32]], change: Callable[..., NDArray[np.float32]]
) -> None:
    for image in head:
        with pytest.raises(RequestError):
            check_units(change(image.clip(-1000, 1000)), HU)


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        (60 + 5 * RNG.standard_normal((1, 16, 16, 16)), PATCHES),  # liver
        (np.where(np.arange(16) < 3, 900, 60 + 5 * RNG.standard_normal((1, 16, 16, 16))), PATCHES),  # with ribs
        (np.where(np.arange(16) < 9, 450, 50 + 5 * RNG.standard_normal((1, 16, 16, 16))), PATCHES),  # heart, contrast
        (np.where(np.arange(64) < 40, RNG.uniform(200, 900, (1, 64, 64)), -1000), HU),  # bone without its surroundings
        (RNG.random((1, 64, 64)) * 0.2, HU.patched({"values": {"low": 0, "high": 14, "unit": "SUV"}})),  # a leg
        (RNG.poisson(0.1, (1, 64, 64)).clip(0, 1), HU.patched({"values": GREY})),
        (RNG.poisson(0.5, (1, 64, 64)) + 200.0 * (np.arange(4096).reshape(64, 64) < 9), HU.patched({"values": GREY})),
    ],
)
def test_an_image_that_shows_little_is_taken(values: NDArray[np.float32], spec: ImageSpec) -> None:
    check_units(values.astype(np.float32), spec)


def test_a_patch_in_fractions_is_refused() -> None:
    with pytest.raises(RequestError, match="lie too close together"):
        check_units((0.04 + 0.02 * RNG.standard_normal((1, 16, 16, 16))).astype(np.float32), PATCHES)


def test_a_png_spans_the_models_range_and_has_no_units_to_be_wrong(vae: httpx.Client) -> None:
    stream = BytesIO()
    Image.fromarray(RNG.integers(150, 255, (16, 24), np.uint8)).save(stream, "PNG")

    answer = vae.post("/reconstruct?class=mass", content=stream.getvalue(), headers={"Content-Type": PNG})

    assert answer.status_code == 200


def test_an_array_that_is_wrong_is_said_before_its_class_is_missed(vae: httpx.Client) -> None:
    answer = vae.post("/reconstruct", content=npy_of(np.zeros(8)), headers={"Content-Type": NPY})

    assert "shape" in refused(answer, 422)


def test_a_conditional_model_asks_for_the_class_of_an_image(vae: httpx.Client) -> None:
    answer = vae.post("/reconstruct", content=npy_of(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "?class=" in refused(answer, 422)


def test_a_model_that_only_generates_has_no_reconstruct(gan: httpx.Client) -> None:
    answer = gan.post("/reconstruct", content=npy_of(np.zeros((16, 24))), headers={"Content-Type": NPY})

    assert "no such endpoint" in refused(answer, 404)
