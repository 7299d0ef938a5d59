import asyncio
import threading
import time
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rayology.bundle import Bundle
from rayology.errors import RequestError
from rayology.image import from_model_range, to_model_range, to_stored
from rayology.serving.generator import Drawn, Generator, card_of
from rayology.serving.schemas import Limits


def _load(bundle: Bundle) -> Generator:
    model = bundle.build()
    card = card_of(bundle, model, version="v", limits=Limits(max_count=20, max_body_bytes=1000))
    return Generator(model, card, batch_size=4, num_threads=1)


def _draw(generator: Generator, seeds: Iterable[int], *, count: int) -> list[NDArray[np.float32]]:
    """Draw for several clients at once."""

    async def draw() -> list[NDArray[np.float32]]:
        requests = (generator.generate(count=count, seed=seed, class_name=None) for seed in seeds)
        return [drawn.images for drawn in await asyncio.gather(*requests)]

    return asyncio.run(draw())


@pytest.fixture(params=["vae_bundle", "gan_bundle", "volume_bundle"])
def generator(request: pytest.FixtureRequest) -> Generator:
    bundle: Bundle = request.getfixturevalue(request.param)
    return _load(bundle)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_an_image_is_the_same_bit_for_bit_whatever_is_drawn_beside_it(generator: Generator, count: int) -> None:
    alone = [_draw(generator, [seed], count=count)[0] for seed in range(6)]

    together = _draw(generator, range(6), count=count)

    for first, second in zip(alone, together, strict=True):
        assert np.array_equal(first, second)


def test_the_first_images_of_a_seed_do_not_depend_on_how_many_are_asked_for(generator: Generator) -> None:
    few, many = _draw(generator, [7], count=3)[0], _draw(generator, [7], count=10)[0]

    assert np.array_equal(few, many[:3])


def test_other_seeds_and_other_places_are_other_images(generator: Generator) -> None:
    images = np.concatenate(_draw(generator, [0, 1, 2**63 - 1], count=4))

    assert len({image.tobytes() for image in images}) == 12


def test_a_class_changes_the_image_but_not_its_noise(vae_bundle: Bundle) -> None:
    generator = _load(vae_bundle)

    def draw(name: str | None) -> Drawn:
        return asyncio.run(generator.generate(count=20, seed=1, class_name=name))

    asked = {name: draw(name).images for name in generator.card.classes}
    drawn = draw(None)

    assert not np.array_equal(asked["nodule"], asked["mass"])
    for index, name in enumerate(drawn.classes):
        assert np.array_equal(drawn.images[index], asked[name][index])


def test_without_a_class_each_image_names_the_one_it_drew(vae_bundle: Bundle) -> None:
    drawn = asyncio.run(_load(vae_bundle).generate(count=20, seed=1, class_name=None))

    assert set(drawn.classes) == {"none", "nodule", "mass"}


@pytest.mark.parametrize("name", ["vae_bundle", "volume_bundle"])
def test_a_reconstruction_is_the_models_own_of_the_stored_levels(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    generator, model = _load(bundle), bundle.build()
    values = model.image.values
    images = np.random.default_rng(0).uniform(-1500, 1500, (4, *model.image.shape)).astype(np.float32)

    served = asyncio.run(generator.reconstruct(lambda: images, class_name="mass")).images

    seen = to_model_range(torch.from_numpy(to_stored(images, values).astype(np.float32)), values)
    with torch.inference_mode():
        expected = from_model_range(model.reconstruct(seen, torch.full((4,), 2)), values)  # type: ignore[operator]  # a Vae
    assert np.allclose(served, expected.numpy(), atol=0.5)  # HU of 2,000; the number of threads changes the last bits


def test_an_image_of_another_size_is_padded_and_averaged_as_in_preparation(vae_bundle: Bundle) -> None:
    generator = _load(vae_bundle)
    small = np.random.default_rng(0).uniform(-1000, 1000, (1, 1, 16, 24)).astype(np.float32)
    large = small.repeat(2, axis=2).repeat(2, axis=3)

    async def reconstruct(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return (await generator.reconstruct(lambda: images, class_name="none")).images

    assert np.allclose(asyncio.run(reconstruct(small)), asyncio.run(reconstruct(large)), atol=0.01)


def test_a_volume_of_another_size_is_refused_with_the_size_to_send(volume_bundle: Bundle) -> None:
    volumes = np.zeros((1, 1, 16, 24, 24), np.float32)

    with pytest.raises(RequestError, match="have 16x24x24 voxels, the model takes 16x16x24"):
        asyncio.run(_load(volume_bundle).reconstruct(lambda: volumes, class_name="none"))


def test_more_images_than_allowed_are_refused(vae_bundle: Bundle) -> None:
    images = np.zeros((21, 1, 16, 24), np.float32)

    with pytest.raises(RequestError, match="at most 20"):
        asyncio.run(_load(vae_bundle).reconstruct(lambda: images, class_name="none"))


def test_what_several_clients_send_is_read_one_after_the_other(vae_bundle: Bundle) -> None:
    generator, reading, num_read = _load(vae_bundle), threading.Lock(), 0

    def read() -> NDArray[np.float32]:
        nonlocal num_read
        assert reading.acquire(blocking=False), "two at once"
        time.sleep(0.01)
        reading.release()
        num_read += 1
        return np.zeros((1, 1, 16, 24), np.float32)

    async def ask() -> None:
        await asyncio.gather(*(generator.reconstruct(read, class_name="none") for _ in range(8)))

    asyncio.run(ask())

    assert num_read == 8


def test_the_card_says_what_the_bundle_says(vae_bundle: Bundle, gan_bundle: Bundle) -> None:
    vae, gan = _load(vae_bundle).card, _load(gan_bundle).card

    assert (vae.kind, vae.capabilities, vae.classes) == ("vae", ("generate", "reconstruct"), ("none", "nodule", "mass"))
    assert (gan.kind, gan.capabilities, gan.classes) == ("gan", ("generate",), ())
    assert (vae.image.size, vae.image.unit, vae.metrics, vae.note) == (
        (16, 24),
        "HU",
        {"val/psnr": 20.0, "copies": 0.0},
        "one patient",
    )
