"""Several images as a ZIP of pictures."""

from io import BytesIO
from zipfile import ZIP_STORED, ZipFile

import httpx
import numpy as np
import pytest
from tests.serving.exchanges import NPY, PNG, ZIP, npy_of


def unzipped(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.headers["content-type"] == ZIP
    with ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {file.compress_type for file in archive.infolist()} == {ZIP_STORED}
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("session", ["vae", "gan", "volumes"])
def test_each_picture_is_the_one_that_is_asked_for_alone(session: str, request: pytest.FixtureRequest) -> None:
    model: httpx.Client = request.getfixturevalue(session)
    asked = {"count": 3, "seed": 7, "first_index": 9999}

    answer = model.post("/generate", json=asked, headers={"Accept": ZIP})

    pictures = unzipped(answer)
    assert list(pictures) == ["9999.png", "10000.png", "10001.png"]
    for index, picture in enumerate(pictures.values(), 9999):
        alone = model.post("/generate", json={**asked, "count": 1, "first_index": index}, headers={"Accept": PNG})
        assert alone.content == picture
    assert answer.headers["x-rayology-seed"] == "7"
    assert model.post("/generate", json=asked, headers={"Accept": ZIP}).content == answer.content


def test_pictures_of_what_was_sent_are_named_by_their_place(vae: httpx.Client) -> None:
    images = np.random.default_rng(0).uniform(-1000, 1000, (2, 1, 16, 24))

    def kept(sent: object, form: str) -> httpx.Response:
        headers = {"Content-Type": NPY, "Accept": form}
        return vae.post("/reconstruct?class=mass", content=npy_of(np.asarray(sent)), headers=headers)

    pictures = unzipped(kept(images, ZIP))

    assert list(pictures) == ["0000.png", "0001.png"]
    assert list(pictures.values()) == [kept(image, PNG).content for image in images]
