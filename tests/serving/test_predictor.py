import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayology.bundle import Bundle, draw
from rayology.errors import RequestError
from rayology.image import from_model_range, to_model_range, to_stored
from rayology.models import Model
from rayology.serving import answer as answer_module
from rayology.serving.answer import Answer
from rayology.serving.invariance import steady_gpu
from rayology.serving.predictor import CPU, EXACT_BATCH, Predictor, Threads, _compute, card_of
from rayology.serving.schemas import GenerateRequest, Limits, Precision
from rayology.serving.verbs import GENERATE, RECONSTRUCT, ImagesRequest

THREADS = Threads.start(1)


def _load(bundle: Bundle, device: torch.device = CPU, precision: Precision = "float32") -> Predictor:
    model = bundle.build().to(device)
    limits = Limits(max_count=20, max_body_bytes=1000)
    card = card_of(bundle, model, version="v", limits=limits, precision=precision)
    return Predictor(model, card, THREADS, batch_size=8)


def _draw(
    predictor: Predictor, seeds: Iterable[int], *, count: int, first_index: int = 0, exact: bool = False
) -> list[NDArray[np.float32]]:
    """Draw for several clients at once."""

    async def ask() -> list[Answer]:
        requests = (GenerateRequest(count=count, seed=seed, first_index=first_index) for seed in seeds)
        return await asyncio.gather(*(predictor.answer(GENERATE, request, exact=exact) for request in requests))

    return [answer.images for answer in asyncio.run(ask())]


def _reconstruct(predictor: Predictor, images: NDArray[np.float32], class_name: str) -> Answer:
    return asyncio.run(predictor.answer(RECONSTRUCT, ImagesRequest(lambda: images, class_name)))


@pytest.fixture(params=["vae_bundle", "gan_bundle", "volume_bundle"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    named: Bundle = request.getfixturevalue(request.param)
    return named


@pytest.fixture
def predictor(bundle: Bundle) -> Predictor:
    return _load(bundle)


def test_what_a_batch_is_made_from_is_brought_to_the_models_device_and_dtype(vae_bundle: Bundle) -> None:
    model, seen = vae_bundle.build().to("meta", torch.bfloat16), list[Tensor]()

    def note(_: Model, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        seen.extend([*inputs.values(), labels])
        return torch.zeros(4, 1)

    items = [RECONSTRUCT.example(model, number) for number in range(3)]
    answered = _compute(model, replace(RECONSTRUCT, compute=note), items, least=4)

    assert len(answered) == 3
    assert [(each.device.type, each.dtype, len(each)) for each in seen] == [
        ("meta", torch.bfloat16, 4),
        ("meta", torch.int64, 4),
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_draws_what_the_processor_does_alone_and_in_a_crowd(bundle: Bundle, precision: Precision) -> None:
    steady_gpu()
    expected = _draw(_load(bundle), [7], count=8, exact=True)[0]

    predictor = _load(bundle, torch.device("cuda"), precision)
    alone, crowd = _draw(predictor, [7], count=8)[0], _draw(predictor, range(5, 10), count=8)[2]
    exact = _draw(predictor, [7], count=8, exact=True)[0]

    assert np.array_equal(alone, crowd)
    assert np.allclose(exact, expected, atol=0.5)  # HU of 2,000


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Compute here as the predictor does, whose last bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_an_image_is_the_same_bit_for_bit_whatever_is_drawn_beside_it(predictor: Predictor, count: int) -> None:
    alone = [_draw(predictor, [seed], count=count)[0] for seed in range(6)]

    together = _draw(predictor, range(6), count=count)

    for first, second in zip(alone, together, strict=True):
        assert np.array_equal(first, second)


def test_the_first_images_of_a_seed_do_not_depend_on_how_many_are_asked_for(predictor: Predictor) -> None:
    few, many = _draw(predictor, [7], count=3)[0], _draw(predictor, [7], count=10)[0]

    assert np.array_equal(few, many[:3])


def test_an_image_asked_for_by_its_index_is_the_one_among_others_bit_for_bit(predictor: Predictor) -> None:
    alone, many = _draw(predictor, [7], count=1, first_index=5)[0], _draw(predictor, [7], count=8)[0]

    assert np.array_equal(alone[0], many[5])


@pytest.mark.usefixtures("_one_thread")
def test_the_images_of_the_cards_seed_are_those_on_the_bundles_sheet(bundle: Bundle, predictor: Predictor) -> None:
    model, seed = bundle.build(), predictor.card.seed
    assert seed is not None
    served, exact = (_draw(predictor, [seed], count=8, exact=asked)[0] for asked in (False, True))

    as_many = from_model_range(draw(model, count=8, seed=seed), model.image.values).numpy()
    count = 6 if model.image.is_volume else EXACT_BATCH  # of which so many are drawn at once
    batch = from_model_range(draw(model, count=count, seed=seed)[:EXACT_BATCH], model.image.values).numpy()

    assert seed == bundle.seed
    assert np.allclose(served, as_many, atol=0.5)  # HU of 2,000; the size of a batch changes the last bits
    assert np.array_equal(exact[:EXACT_BATCH], batch)


def test_the_card_of_format_1_names_no_seed_because_its_sheet_was_drawn_otherwise() -> None:
    bundle = Bundle.load(Path(__file__).parents[1] / "fixtures" / "format_1" / "gan")

    assert _load(bundle).card.seed is None


def test_classes_that_no_header_holds_are_refused_before_anything_is_computed(
    vae_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_module, "MAX_CLASSES_BYTES", 20)  # names as long as a folder's would take a bundle
    predictor = _load(vae_bundle)
    monkeypatch.setattr(predictor, "_batchers", {})  # so that what is computed fails

    with pytest.raises(RequestError, match="the classes of 5 images do not fit into a header: ask for fewer images"):
        asyncio.run(predictor.answer(GENERATE, GenerateRequest(count=5, seed=1, class_name="mass")))


def test_other_seeds_and_other_places_are_other_images(predictor: Predictor) -> None:
    images = np.concatenate(_draw(predictor, [0, 1, 2**63 - 1], count=4))

    assert len({image.tobytes() for image in images}) == 12


def test_a_class_changes_the_image_but_not_its_noise(vae_bundle: Bundle) -> None:
    predictor = _load(vae_bundle)

    def ask(name: str | None) -> Answer:
        return asyncio.run(predictor.answer(GENERATE, GenerateRequest(count=20, seed=1, class_name=name)))

    asked = {name: ask(name).images for name in predictor.card.classes}
    answer = ask(None)

    assert not np.array_equal(asked["nodule"], asked["mass"])
    for index, name in enumerate(answer.classes):
        assert np.array_equal(answer.images[index], asked[name][index])


def test_an_answer_says_all_it_takes_to_ask_again(vae_bundle: Bundle) -> None:
    predictor = _load(vae_bundle)

    drawn = asyncio.run(predictor.answer(GENERATE, GenerateRequest(count=20, seed=1, first_index=7)))
    sent = _reconstruct(predictor, drawn.images[:2], "mass")

    assert set(drawn.classes) == {"none", "nodule", "mass"}
    assert (drawn.seed, drawn.first_index, drawn.version, drawn.nature) == (1, 7, "v", "synthetic")
    assert (sent.classes, sent.seed, sent.first_index) == (("mass", "mass"), None, None)
    assert (sent.version, sent.nature) == ("v", "derived")


@pytest.mark.parametrize("name", ["vae_bundle", "volume_bundle"])
def test_a_reconstruction_is_the_models_own_of_the_stored_levels(name: str, request: pytest.FixtureRequest) -> None:
    bundle: Bundle = request.getfixturevalue(name)
    predictor, model = _load(bundle), bundle.build()
    values = model.image.values
    images = np.random.default_rng(0).uniform(-1500, 1500, (4, *model.image.shape)).astype(np.float32)

    served = _reconstruct(predictor, images, "mass").images

    seen = to_model_range(torch.from_numpy(to_stored(images, values).astype(np.float32)), values)
    with torch.inference_mode():
        expected = from_model_range(model.reconstruct(seen, torch.full((4,), 2)), values)  # type: ignore[operator]  # a Vae
    assert np.allclose(served, expected.numpy(), atol=0.5)  # HU of 2,000; the number of threads changes the last bits


def test_an_image_of_another_size_is_padded_and_averaged_as_in_preparation(vae_bundle: Bundle) -> None:
    predictor = _load(vae_bundle)
    small = np.random.default_rng(0).uniform(-1000, 1000, (1, 1, 16, 24)).astype(np.float32)
    large = small.repeat(2, axis=2).repeat(2, axis=3)

    first, second = (_reconstruct(predictor, images, "none").images for images in (small, large))

    assert np.allclose(first, second, atol=0.01)


def test_a_volume_of_another_size_is_refused_with_the_size_to_send(volume_bundle: Bundle) -> None:
    volumes = np.zeros((1, 1, 16, 24, 24), np.float32)

    with pytest.raises(RequestError, match="have 16x24x24 voxels, the model takes 16x16x24"):
        _reconstruct(_load(volume_bundle), volumes, "none")


def test_more_images_than_allowed_are_refused(vae_bundle: Bundle) -> None:
    images = np.zeros((21, 1, 16, 24), np.float32)

    with pytest.raises(RequestError, match="at most 20"):
        _reconstruct(_load(vae_bundle), images, "none")


def test_what_several_clients_send_is_read_one_after_the_other(vae_bundle: Bundle) -> None:
    predictor, reading, num_read = _load(vae_bundle), threading.Lock(), 0

    def read() -> NDArray[np.float32]:
        nonlocal num_read
        assert reading.acquire(blocking=False), "two at once"
        time.sleep(0.01)
        reading.release()
        num_read += 1
        return np.zeros((1, 1, 16, 24), np.float32)

    async def ask() -> None:
        await asyncio.gather(*(predictor.answer(RECONSTRUCT, ImagesRequest(read, "none")) for _ in range(8)))

    asyncio.run(ask())

    assert num_read == 8


def test_the_card_says_what_the_bundle_says(vae_bundle: Bundle, gan_bundle: Bundle) -> None:
    vae, gan = _load(vae_bundle).card, _load(gan_bundle).card

    assert (vae.kind, vae.capabilities) == ("vae", ("generate", "reconstruct", "bound", "encode"))
    assert vae.verbs == {
        "generate": "synthetic",
        "interpolate": "synthetic",
        "reconstruct": "derived",
        "encode": "derived",
        "decode": "derived",
    }
    assert vae.classes == ("none", "nodule", "mass")
    assert (gan.kind, gan.capabilities, gan.verbs, gan.classes) == (
        "gan",
        ("generate",),
        {"generate": "synthetic", "interpolate": "synthetic"},
        (),
    )
    assert (vae.latent, gan.latent) == ((32,), None)
    assert (vae.seed, gan.seed) == (vae_bundle.seed, gan_bundle.seed)
    assert (vae.image.size, vae.image.unit, vae.metrics, vae.note) == (
        (16, 24),
        "HU",
        {"val/psnr": 20.0, "copies": 0.0},
        "one patient",
    )
