"""A served bundle on Ray Serve: from typed arguments to an application."""

import logging
import math
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import ray
import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, HTTPOptions

from rayology.bundle import Bundle
from rayology.config import Config
from rayology.errors import ConfigError, StoreError
from rayology.gates import require_gates
from rayology.image import ImageSpec
from rayology.serving import haproxy
from rayology.serving.admission import TOKEN, Admission, token
from rayology.serving.autoscaling import BATCHES, replicas_wanted
from rayology.serving.invariance import steady_gpu
from rayology.serving.logs import log_to_stderr
from rayology.serving.monitoring import Monitor
from rayology.serving.predictor import Predictor, Threads, card_of, precision_here
from rayology.serving.rest import RestApp
from rayology.serving.schemas import Limits, Precision
from rayology.serving.verbs import ImagesRequest, verbs_of
from rayology.serving.versions import Versions
from rayology.store import CHAMPION, Store

__all__ = ["TOKEN", "ServeArgs", "build", "hosted", "load", "run"]

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
NPY_HEADER_BYTES = 128  # of an array of few axes (NumPy enhancement proposal 1)


class ServeArgs(Config):
    """Which bundle to serve, to whom, and on what."""

    store: str = ".rayology/store"
    """Store of the model: a folder, relative to where Ray was started, or an object store's URI."""
    model: str = ""
    """Name of the model in the store; empty if the store holds a single one."""
    version: str = CHAMPION
    """Version of the model; ``champion`` is the one that the store names, and within seconds each that it names later,
    with its canary."""
    access: Literal["token", "open"] = "token"
    """Who may call: token for callers who send the bearer token in RAYOLOGY_TOKEN, open for everyone."""
    max_count: PositiveInt = 64
    """Images that one request may ask for."""
    max_body_mb: PositiveInt = 16
    """Size that the body of a request may have, in megabytes (10^6 bytes)."""
    body_timeout_s: PositiveFloat = 20.0
    """Seconds in which the body of a request must arrive."""
    batch_size: Annotated[PositiveInt, Field(le=1024)] = 32
    """The most images computed at once, of large ones fewer; an image is the same whatever is computed with it."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Numbers to compute with; auto takes bfloat16 where the processor multiplies it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes the GPU if a replica is given one by num_gpus."""
    num_gpus: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of a GPU that a replica takes; replicas, also of other models, whose shares sum to 1 use one together."""
    num_threads: PositiveInt = 1
    """CPU cores, and threads, of a replica."""
    num_replicas: PositiveInt = 1
    """Processes that serve the bundle, at least."""
    max_replicas: PositiveInt | None = None
    """Processes up to which more are started while images wait; null for num_replicas always."""

    @model_validator(mode="after")
    def _can_be_placed(self) -> Self:
        if self.device == "cuda" and not self.num_gpus:
            raise ValueError("device cuda needs a GPU; write num_gpus: 1, or less for replicas that share one")
        if self.device == "cpu" and self.num_gpus:
            raise ValueError(f"device cpu leaves the GPUs of num_gpus {self.num_gpus:g} idle; leave one of them out")
        if self.max_replicas is not None and self.max_replicas < self.num_replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is less than num_replicas {self.num_replicas}; write as many or more"
            )
        return self

    @property
    def limits(self) -> Limits:
        """Limits as the card shows them."""
        return Limits(max_count=self.max_count, max_body_bytes=self.max_body_mb * 1_000_000)

    @property
    def torch_device(self) -> torch.device:
        """Device of the model; Ray shows a replica its own GPU alone."""
        is_cuda = self.device == "cuda" or (self.device == "auto" and self.num_gpus > 0)
        return torch.device("cuda" if is_cuda else "cpu")


def build(args: ServeArgs) -> serve.Application:
    """Return the application for ``serve run``.

    Raises:
        ConfigError: access needs a token and RAYOLOGY_TOKEN is not set, the store holds several models and none is
            named, no request can hold a volume to reconstruct, or the precision is none for volumes.
        StoreError: the store has no such model or version, the model no champion, or a gate refuses it.
        BundleError: the bundle is damaged or foreign.
    """
    store = Store(_anchored(args.store))
    name = store.resolve(args.model)
    wanted = args.patched({"store": store.uri, "model": name})
    _bundle(wanted, store, store.pin(name, args.version)).build()  # so that what cannot be served fails here, once
    digest = None if args.access == "open" else Admission.digest(token())
    admission = Admission(digest, args.limits.max_body_bytes, args.body_timeout_s)

    deployment = serve.deployment(
        serve.ingress()(ModelServer),
        name="model",
        num_replicas=args.num_replicas if args.max_replicas is None else None,
        autoscaling_config=_autoscaling(args),
        max_ongoing_requests=2048,  # they wait in the batcher, which refuses what is too many; 5 would starve it
        health_check_period_s=1,  # by it Serve finds that a replica was lost, and starts another
        # The access log repeats what callers write, ours does not; less than a warning tells of ports alone.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        ray_actor_options={"num_cpus": args.num_threads, "num_gpus": args.num_gpus},
    )
    metrics = Path(tempfile.gettempdir(), f"rayology-metrics-{uuid.uuid4().hex}")
    return deployment.bind(wanted, admission, metrics)


def _autoscaling(args: ServeArgs) -> AutoscalingConfig | None:
    """Return between which numbers of replicas Serve chooses, and how fast; None for a number that stays."""
    if args.max_replicas is None:
        return None
    return AutoscalingConfig(
        min_replicas=args.num_replicas,
        max_replicas=args.max_replicas,
        policy=AutoscalingPolicy(policy_function=f"{replicas_wanted.__module__}:{replicas_wanted.__name__}"),
        look_back_period_s=20,  # two reports of a replica
        upscale_delay_s=10,  # about what a replica takes to start
        downscale_delay_s=300,  # clients pause for minutes, and a replica that is started again measures the model anew
    )


class ModelServer:
    """A replica: one model, in the versions that its store names."""

    def __init__(self, args: ServeArgs, admission: Admission, metrics: Path) -> None:
        log_to_stderr()
        self._monitor = Monitor(metrics, node=ray.get_runtime_context().get_node_id()[:8])
        steady_gpu()
        store, threads = Store(args.store), Threads.start(args.num_threads)
        loaded = partial(load, args, store, threads, on_batch=self._monitor.computed)
        try:
            self._versions = Versions(store, args.model, loaded, wanted=args.version, on_look=self._tell)
        except Exception:
            self._monitor.close()
            raise
        self._versions.follow()
        self._admission = admission

    def _tell(self, versions: Versions) -> None:
        self._monitor.stands(num_waiting=versions.num_waiting, num_complaints=len(versions.complaints))

    def __serve_build_asgi_app__(self) -> RestApp:
        """Return the application that answers; Serve asks for it once a version is loaded."""
        return RestApp(self._versions, self._admission, self._monitor)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return what the number of replicas goes by, for Serve, which asks if it may change."""
        return {BATCHES: self._versions.num_batches}


def load(
    args: ServeArgs,
    store: Store,
    threads: Threads,
    version: str,
    *,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Predictor:
    """Load a version of the model.

    Raises:
        StoreError: the store has no such version, or a gate refuses it.
        BundleError: the bundle is damaged or foreign.
        ConfigError: no request can hold a volume to reconstruct, there is no GPU, or volumes are to be computed on a
            processor in bfloat16.
    """
    bundle, device = _bundle(args, store, version), args.torch_device
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("num_gpus: torch finds no GPU on this node; install its CUDA build, or write num_gpus: 0")
    model = bundle.build().to(device)
    precision = _precision(args, model.image)
    logger.info("%s: %s computes on %s in %s.", args.model, version, device, precision)
    card = card_of(bundle, model, version=version, limits=args.limits, precision=precision)
    return Predictor(model, card, threads, batch_size=args.batch_size, on_batch=on_batch)


def _precision(args: ServeArgs, image: ImageSpec) -> Precision:
    if args.precision == "auto":
        return precision_here(args.torch_device, is_volume=image.is_volume)
    if args.precision == "bfloat16" and image.is_volume and args.torch_device.type == "cpu":
        raise ConfigError("precision: bfloat16 of volumes needs a GPU, for torch lacks it on processors; write auto")
    return args.precision


def _bundle(args: ServeArgs, store: Store, version: str) -> Bundle:
    bundle = Bundle.load(store.fetch(args.model, version))
    require_gates(bundle)
    if any(verb.request is ImagesRequest for verb in verbs_of(bundle.manifest.capabilities)):
        _check_body_holds(args, bundle.manifest.image)
    _precision(args, bundle.manifest.image)
    return bundle


@contextmanager
def run(args: ServeArgs, *, name: str, port: int) -> Iterator[str]:
    """Serve a bundle on loopback behind HAProxy, yield its URL, and shut Serve down on leaving."""
    with hosted(build(args), name=name, port=port) as url:
        yield url


@contextmanager
def hosted(application: serve.Application, *, name: str, port: int) -> Iterator[str]:
    """Host an application as ``run`` does a bundle."""
    # Not in TMPDIR, which may be long: the path of a socket may have only 107 characters.
    with tempfile.TemporaryDirectory(prefix="rayology-", dir="/tmp") as folder:
        serve.start(
            http_options=HTTPOptions(host=LOOPBACK, port=port),
            controller_options={"runtime_env": {"env_vars": haproxy.environment(Path(folder))}},
        )
        try:
            serve.run(application, name=name, route_prefix=f"/models/{name}")
            yield f"http://{LOOPBACK}:{port}/models/{name}"
        finally:
            serve.shutdown()


def _anchored(store: str) -> str:
    """Make a relative path absolute, from the folder in which Ray was started."""
    if "://" in store:
        return store
    folder = Path(store).expanduser().absolute()
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such store; publish a bundle first, or write the store's absolute path")
    return str(folder)


def _check_body_holds(args: ServeArgs, image: ImageSpec) -> None:
    """Refuse a limit under which no volume could be sent; an image may be sent smaller, or as PNG."""
    least_mb = math.ceil((4 * math.prod(image.shape) + NPY_HEADER_BYTES) / 1_000_000)
    if image.is_volume and args.max_body_mb < least_mb:
        raise ConfigError(
            f"max_body_mb: {args.max_body_mb} holds no volume of {'x'.join(map(str, image.size))} in float32, which "
            f"/reconstruct takes; write {least_mb} or more"
        )
