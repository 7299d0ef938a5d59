"""A small real model of each kind, bundled and behind its endpoints."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import torch

from rayology.bundle import Bundle, Provenance, write_bundle
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.models import GanConfig, Model, ModelConfig, VaeConfig
from rayology.serving.admission import Admission
from rayology.serving.monitoring import Monitor
from rayology.serving.predictor import Predictor, Threads, card_of
from rayology.serving.rest import RestApp
from rayology.serving.schemas import Limits
from rayology.serving.versions import Versions
from rayology.store import Store

IMAGE = ImageSpec(size=(16, 24), classes=("none", "nodule", "mass"))
VOLUME = ImageSpec(size=(16, 16, 24), classes=("none", "nodule", "mass"))
METRICS = {"val/psnr": 20.0, "copies": 0.0}
LIMITS = Limits(max_count=20, max_body_bytes=100_000)
OPEN = Admission(token_digest=None, max_body_bytes=LIMITS.max_body_bytes, body_timeout_s=5)


class Bridge(httpx.BaseTransport):
    """Lets plain code call an application in this process."""

    def __init__(self, app: RestApp) -> None:
        self.app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=content)
        answer = await httpx.ASGITransport(self.app).handle_async_request(sent)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelConfig, ImageSpec], Bundle]:
    def make(config: ModelConfig, image: ImageSpec) -> Bundle:
        torch.manual_seed(0)
        model = config.build(image)
        for weight in model.parameters():  # an untrained network draws a flat image
            torch.nn.init.normal_(weight, std=0.15)
        experiment = Experiment(name="tiny", model=config)
        origin = Provenance(
            dataset="0" * 8, note="one patient", seed=0, steps=1, created_at=datetime.now(UTC), packages={}
        )
        folder = tmp_path_factory.mktemp("bundle") / "tiny"
        return write_bundle(folder, experiment=experiment, model=model, metrics=METRICS, provenance=origin)

    return make


@pytest.fixture(scope="session")
def vae_bundle(make_bundle: Callable[[ModelConfig, ImageSpec], Bundle]) -> Bundle:
    return make_bundle(VaeConfig(), IMAGE)


@pytest.fixture(scope="session")
def gan_bundle(make_bundle: Callable[[ModelConfig, ImageSpec], Bundle]) -> Bundle:
    return make_bundle(GanConfig(conditional=False), IMAGE)


@pytest.fixture(scope="session")
def volume_bundle(make_bundle: Callable[[ModelConfig, ImageSpec], Bundle]) -> Bundle:
    return make_bundle(VaeConfig(), VOLUME)


@pytest.fixture(scope="session")
def threads() -> Threads:
    return Threads.start(1)


@pytest.fixture
def make_app(tmp_path: Path, threads: Threads) -> Iterator[Callable[..., RestApp]]:
    made: list[Versions] = []

    def make(bundle: Bundle, admission: Admission, model: Model | None = None) -> RestApp:
        store, built = Store(str(tmp_path / f"store-{len(made)}")), model or bundle.build()
        store.set_champion("tiny", store.publish(bundle, "tiny"))
        card = card_of(bundle, built, version="20260101-000000-0123abcd", limits=LIMITS)
        monitor = Monitor(tmp_path / f"metrics-{len(made)}")
        predictor = Predictor(built, card, threads, batch_size=4, on_batch=monitor.computed)

        def tell(versions: Versions) -> None:
            monitor.stands(num_waiting=versions.num_waiting, num_complaints=len(versions.complaints))

        made.append(Versions(store, "tiny", lambda _: predictor, on_look=tell))
        return RestApp(made[-1], admission, monitor)

    yield make
    for versions in made:
        versions.close()


@pytest.fixture
def vae_app(vae_bundle: Bundle, make_app: Callable[[Bundle, Admission], RestApp]) -> RestApp:
    return make_app(vae_bundle, OPEN)


@pytest.fixture
def gan_app(gan_bundle: Bundle, make_app: Callable[[Bundle, Admission], RestApp]) -> RestApp:
    return make_app(gan_bundle, OPEN)


@pytest.fixture
def open_session() -> Callable[[RestApp], httpx.Client]:
    return lambda app: httpx.Client(transport=Bridge(app), base_url="http://model")


@pytest.fixture
def vae(vae_app: RestApp, open_session: Callable[[RestApp], httpx.Client]) -> httpx.Client:
    return open_session(vae_app)


@pytest.fixture
def gan(gan_app: RestApp, open_session: Callable[[RestApp], httpx.Client]) -> httpx.Client:
    return open_session(gan_app)


@pytest.fixture
def volume_transport(volume_bundle: Bundle, make_app: Callable[[Bundle, Admission], RestApp]) -> httpx.BaseTransport:
    return Bridge(make_app(volume_bundle, OPEN))


@pytest.fixture
def volumes(volume_transport: httpx.BaseTransport) -> httpx.Client:
    """A session with a model of volumes."""
    return httpx.Client(transport=volume_transport, base_url="http://model")


@pytest.fixture
def vae_transport(vae_app: RestApp) -> httpx.BaseTransport:
    return Bridge(vae_app)


@pytest.fixture(scope="session")
def image_file(vae_bundle: Bundle) -> Path:
    return vae_bundle.path / "samples.png"
