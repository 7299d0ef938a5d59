"""The endpoints of a model of volumes."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.serving.exchanges import NPY, PNG, array_of, npy_of, refused

from rayology.serving import rest


def test_volumes_are_drawn_as_npy_and_as_their_middle_planes(volumes: httpx.Client) -> None:
    asked = {"count": 1, "seed": 3, "class": "mass"}

    png = volumes.post("/generate", json=asked, headers={"Accept": PNG})
    npy = volumes.post("/generate", json=asked, headers={"Accept": NPY})

    drawn = array_of(npy)
    assert drawn.shape == (1, 1, 16, 16, 24)
    with Image.open(BytesIO(png.content)) as picture:
        assert picture.size == (24 + 24 + 16, 16)
        axial = np.asarray(picture, np.float32)[:, :24] / 255 * 2000 - 1000
    assert np.abs(axial - drawn[0, 0, 8]).max() <= 1000 / 255 + 1e-3


def test_a_volume_is_reconstructed_from_an_npy_of_the_models_size(volumes: httpx.Client) -> None:
    headers = {"Content-Type": NPY, "Accept": NPY}

    answer = volumes.post("/reconstruct?class=mass", content=npy_of(np.zeros((16, 16, 24))), headers=headers)
    other = volumes.post("/reconstruct?class=mass", content=npy_of(np.zeros((16, 24, 24))), headers=headers)

    assert array_of(answer).shape == (1, 1, 16, 16, 24)
    assert "have 16x24x24 voxels, the model takes 16x16x24" in refused(other, 422)


def test_a_volume_of_the_models_size_is_never_too_large(volumes: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_VALUES", 1000)  # a model of 168x168x168 voxels would take gigabytes
    headers = {"Content-Type": NPY, "Accept": NPY}

    answer = volumes.post("/reconstruct?class=mass", content=npy_of(np.zeros((16, 16, 24))), headers=headers)
    other = volumes.post("/reconstruct?class=mass", content=npy_of(np.zeros((16, 24, 24))), headers=headers)

    assert array_of(answer).shape == (1, 1, 16, 16, 24)
    assert "send at most 6144 values" in refused(other, 422)


@pytest.mark.parametrize("content_type", [PNG, "text/plain"])
def test_a_model_of_volumes_takes_them_as_npy_alone(volumes: httpx.Client, image_file: Path, content_type: str) -> None:
    headers = {"Content-Type": content_type}

    answer = volumes.post("/reconstruct?class=mass", content=image_file.read_bytes(), headers=headers)

    assert f"NPY of (slices, height, width), with the Content-Type {NPY}" in refused(answer, 415)


def test_the_docs_offer_png_for_images_alone(vae: httpx.Client, volumes: httpx.Client) -> None:
    def taken(session: httpx.Client) -> set[str]:
        return set(session.get("/openapi.json").json()["paths"]["/reconstruct"]["post"]["requestBody"]["content"])

    assert taken(vae) == {PNG, NPY}
    assert taken(volumes) == {NPY}
