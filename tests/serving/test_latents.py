"""Images to latents and back: what is answered, and which latents are refused."""

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.serving.exchanges import NPY, PNG, ZIP, array_of, npy_of, refused

SENT = {"Content-Type": NPY, "Accept": NPY}
LATENT = 32


def latents(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("exact", ["true", "false"])
@pytest.mark.parametrize(("session", "shape"), [("vae", (6, 1, 16, 24)), ("volumes", (3, 1, 16, 16, 24))])
def test_decoding_what_was_encoded_is_to_reconstruct(
    session: str, shape: tuple[int, ...], exact: str, request: pytest.FixtureRequest
) -> None:
    model: httpx.Client = request.getfixturevalue(session)
    images = npy_of(np.random.default_rng(0).uniform(-1000, 1000, shape).astype(np.float32))
    query = f"?class=mass&exact={exact}"

    encoded = model.post(f"/encode{query}", content=images, headers=SENT)
    decoded = model.post(f"/decode{query}", content=encoded.content, headers=SENT)

    assert array_of(encoded).dtype == np.float32
    assert array_of(encoded).shape == (shape[0], LATENT)
    assert {answer.headers["x-rayology-nature"] for answer in (encoded, decoded)} == {"derived"}
    assert decoded.content == model.post(f"/reconstruct{query}", content=images, headers=SENT).content


def test_an_image_has_the_same_bits_whatever_is_decoded_with_it(vae: httpx.Client) -> None:
    sent = latents(5, LATENT)

    together = array_of(vae.post("/decode?class=mass", content=npy_of(sent), headers=SENT))

    for row, image in enumerate(together):
        alone = vae.post("/decode?class=mass", content=npy_of(sent[row]), headers=SENT)
        assert np.array_equal(array_of(alone), image[None])


def test_latents_come_as_npy_alone(vae: httpx.Client) -> None:
    image = npy_of(np.zeros((16, 24)))

    anything = vae.post("/encode?class=mass", content=image, headers={"Content-Type": NPY, "Accept": "*/*"})
    picture = vae.post("/encode?class=mass", content=image, headers={"Content-Type": NPY, "Accept": PNG})

    assert anything.headers["content-type"] == NPY
    assert f"name {NPY}, which latents come as" in refused(picture, 406)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an NPY"),
        (npy_of(latents(LATENT + 1)), "has the shape (33,): send latents of the shape (32) or (count, 32)"),
        (npy_of(latents(LATENT, 1)), "(count, 32)"),
        (npy_of(latents(1, 1, LATENT)), "(count, 32)"),
        (npy_of(np.array(1.0)), "(count, 32)"),
        (npy_of(latents(0, LATENT)), "an axis below 1"),
        (npy_of(latents(2, LATENT)).replace(b"(2, 32), }" + b" " * 9, b"(99999999, 32), }  "), "another shape"),
        (npy_of(np.full(LATENT, np.nan)), "finite"),
        (npy_of(np.full(LATENT, 1e300)), "finite"),
        (npy_of(np.full(LATENT, 3e38, np.float32)), "not numbers"),
        (npy_of(np.zeros(LATENT, complex)), "real numbers"),
        (npy_of(latents(21, LATENT)), "21 images are too many: send at most 20"),
    ],
)
def test_what_is_no_latents_is_refused_with_what_to_send(vae: httpx.Client, body: bytes, said: str) -> None:
    assert said in refused(vae.post("/decode?class=mass", content=body, headers=SENT), 422)


def test_latents_of_another_media_type_are_refused(vae: httpx.Client) -> None:
    assert NPY in refused(vae.post("/decode?class=mass", content=b"", headers={"Content-Type": PNG}), 415)


@pytest.mark.parametrize("verb", ["encode", "decode"])
@pytest.mark.parametrize(("query", "said"), [("", "?class="), ("?class=cat", "ask for one of none, nodule, mass")])
def test_a_conditional_model_asks_for_the_class(vae: httpx.Client, verb: str, query: str, said: str) -> None:
    sent = latents(LATENT) if verb == "decode" else np.zeros((16, 24))

    assert said in refused(vae.post(f"/{verb}{query}", content=npy_of(sent), headers=SENT), 422)


@pytest.mark.parametrize("verb", ["encode", "decode"])
def test_a_model_without_latents_has_neither(gan: httpx.Client, verb: str) -> None:
    assert "no such endpoint" in refused(gan.post(f"/{verb}", content=npy_of(latents(LATENT)), headers=SENT), 404)


def test_the_description_names_what_is_sent_and_answered(vae: httpx.Client) -> None:
    paths = vae.get("/openapi.json").json()["paths"]
    encode, decode = (paths[f"/{verb}"]["post"] for verb in ("encode", "decode"))

    assert set(encode["requestBody"]["content"]) == {PNG, NPY}
    assert set(encode["responses"]["200"]["content"]) == set(decode["requestBody"]["content"]) == {NPY}
    assert set(decode["responses"]["200"]["content"]) == {PNG, NPY, ZIP}
