from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from ray.serve.schema import ServeDeploySchema

from rayology.bundle import Bundle, write_bundle
from rayology.config import validated
from rayology.errors import BundleError, ConfigError, RefusedByGate, StoreError
from rayology.experiment import Experiment
from rayology.image import ImageSpec
from rayology.serving.admission import Admission
from rayology.serving.app import ServeArgs, _check_body_holds, _precision, build, load
from rayology.serving.autoscaling import BATCHES
from rayology.serving.predictor import Threads, precision_here
from rayology.store import Store

CONFIGS = Path(__file__).parents[2] / "serve_configs"


@pytest.fixture
def store(tmp_path: Path, vae_bundle: Bundle) -> Store:
    filled = Store(str(tmp_path / "store"))
    filled.set_champion("tiny", filled.publish(vae_bundle))
    return filled


def serve_config(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    return yaml.safe_load(content["spec"]["serveConfigV2"]) if content.get("kind") == "RayService" else content


@pytest.mark.parametrize("name", sorted(file.name for file in CONFIGS.glob("*.yaml")))
def test_a_serve_config_is_one_to_ray_and_its_arguments_are_ours(name: str) -> None:
    config = serve_config(name)

    schema = ServeDeploySchema.model_validate(config)

    assert config.keys() <= ServeDeploySchema.model_fields.keys(), "Ray would pass it over"
    assert schema.http_options.host == ("0.0.0.0" if name == "rayservice.yaml" else "127.0.0.1")  # noqa: S104 - a pod's
    for application in schema.applications:
        assert application.model_fields_set <= {"name", "route_prefix", "import_path", "args"}
        args = ServeArgs.model_validate(application.args)
        assert application.import_path == "rayology.serving.app:build"
        assert (application.name, application.route_prefix) == (args.model, f"/models/{args.model}")
        assert args.access == "token"


def test_the_two_models_of_one_gpu_share_it_and_grow() -> None:
    models = [ServeArgs.model_validate(each["args"]) for each in serve_config("gpu.yaml")["applications"]]

    assert len(models) == 2
    assert sum(args.num_gpus * (args.max_replicas or args.num_replicas) for args in models) <= 1
    assert all(args.torch_device.type == "cuda" and args.max_replicas for args in models)


@pytest.mark.parametrize(
    ("args", "device"),
    [
        ({}, "cpu"),
        ({"num_gpus": 0.5}, "cuda"),
        ({"device": "cuda", "num_gpus": 1}, "cuda"),
        ({"device": "cpu"}, "cpu"),
    ],
)
def test_a_model_is_placed_on_the_gpu_that_a_replica_is_given(args: dict[str, object], device: str) -> None:
    assert ServeArgs.model_validate(args).torch_device.type == device


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"device": "cuda"}, "device cuda needs a GPU; write num_gpus: 1, or less"),
        ({"device": "cpu", "num_gpus": 0.5}, "device cpu leaves the GPUs of num_gpus 0.5 idle"),
        ({"num_replicas": 3, "max_replicas": 2}, "max_replicas 2 is less than num_replicas 3; write as many or more"),
        ({"num_gpus": 2}, "num_gpus: "),
    ],
)
def test_what_cannot_be_placed_is_refused_with_what_to_write(args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(ServeArgs, args, where="args")


def test_a_gpu_that_torch_does_not_find_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # so that it holds where there is one, too

    with pytest.raises(ConfigError, match="num_gpus: torch finds no GPU on this node"):
        load(ServeArgs(store=store.uri, model="tiny", num_gpus=1), store, Threads.start(1), store.champion("tiny"))


def test_auto_is_the_precision_that_this_processor_multiplies(store: Store) -> None:
    args = ServeArgs(store=store.uri, model="tiny", precision="auto", batch_size=2)

    assert load(args, store, Threads.start(1), store.champion("tiny")).card.precision == precision_here()


def test_replicas_take_their_share_of_a_gpu_and_are_as_many_as_were_asked_for(store: Store) -> None:
    args = ServeArgs(store=store.uri, access="open", num_gpus=0.25, num_threads=2, num_replicas=3)

    deployment = build(args)._bound_deployment

    assert deployment.num_replicas == 3
    assert deployment._deployment_config.autoscaling_config is None
    options = deployment.ray_actor_options
    assert (options["num_cpus"], options["num_gpus"]) == (2, 0.25)
    assert deployment.max_ongoing_requests == 2048


def test_with_a_most_number_of_replicas_serve_chooses_it_by_what_waits(store: Store) -> None:
    args = ServeArgs(store=store.uri, access="open", num_replicas=2, max_replicas=5)

    deployment = build(args)._bound_deployment

    chosen = deployment._deployment_config.autoscaling_config
    assert (chosen.min_replicas, chosen.max_replicas) == (2, 5)
    assert chosen.policy.get_policy()(SimpleNamespace(aggregated_metrics={BATCHES: {"a": 5.0, "b": 2.0}})) == (3.5, {})
    assert deployment.max_ongoing_requests == 2048


def test_without_a_token_nothing_is_built(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYOLOGY_TOKEN", raising=False)

    with pytest.raises(ConfigError, match=r"RAYOLOGY_TOKEN: not set.*access: open"):
        build(ServeArgs(store=store.uri))


def test_the_champion_is_followed_and_the_token_is_kept_only_as_its_digest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYOLOGY_TOKEN", "secret")
    monkeypatch.chdir(Path(store.uri).parent)

    application = build(ServeArgs(store="store"))

    args, admission, _ = application._bound_deployment.init_args
    assert (args.store, args.model, args.version) == (store.uri, "tiny", "champion")
    assert admission == Admission(Admission.digest("secret"), max_body_bytes=16_000_000, body_timeout_s=20)


@pytest.mark.parametrize("version", ["champion", "20260101-000000-0123abcd"])
def test_a_store_without_the_version_is_an_error_where_it_is_deployed(tmp_path: Path, version: str) -> None:
    with pytest.raises(StoreError, match=str(tmp_path)):
        build(ServeArgs(store=str(tmp_path), version=version, access="open"))


def test_a_version_that_copies_is_an_error_where_it_is_deployed(
    store: Store, vae_bundle: Bundle, tmp_path: Path
) -> None:
    manifest = vae_bundle.manifest
    copying = write_bundle(
        tmp_path / "copying",
        experiment=Experiment(name="tiny", model=manifest.model),
        model=vae_bundle.build(),
        metrics={"copies": 0.5},
        provenance=manifest.provenance,
    )
    store.set_champion("tiny", store.publish(copying))

    with pytest.raises(RefusedByGate, match="copies is 50 %, more than 20 %"):
        build(ServeArgs(store=store.uri, access="open"))


def test_of_several_models_one_must_be_named(store: Store, gan_bundle: Bundle) -> None:
    version = store.publish(gan_bundle, "other")

    with pytest.raises(ConfigError, match="holds several models; name one of: other, tiny"):
        build(ServeArgs(store=store.uri, access="open"))
    with pytest.raises(StoreError, match="other has no champion"):
        build(ServeArgs(store=store.uri, model="other", access="open"))
    application = build(ServeArgs(store=store.uri, model="other", version=version, access="open"))

    args, *_ = application._bound_deployment.init_args
    assert (args.model, args.version) == ("other", version)


def test_a_store_of_before_is_served(store: Store) -> None:
    version, root = store.champion("tiny"), Path(store.uri)
    (root / "tiny" / version).rename(root / version)
    (root / "tiny" / "champion").rename(root / "champion")

    application = build(ServeArgs(store=store.uri, access="open"))

    args, *_ = application._bound_deployment.init_args
    assert load(args, store, Threads.start(1), version).card.version == version


def test_a_store_that_is_not_there_asks_for_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StoreError, match=rf"{tmp_path}/store: no such store.*absolute path"):
        build(ServeArgs(store="store", access="open"))


def test_volumes_are_computed_in_float32_on_a_processor() -> None:
    volume = ImageSpec(size=(16, 16, 16))

    assert _precision(ServeArgs(precision="auto"), volume) == "float32"
    with pytest.raises(ConfigError, match=r"precision: bfloat16 of volumes needs a GPU.*write auto"):
        _precision(ServeArgs(precision="bfloat16"), volume)
    assert _precision(ServeArgs(precision="bfloat16"), ImageSpec()) == "bfloat16"


def test_a_limit_under_which_no_volume_can_be_sent_is_refused_with_one_that_holds_it() -> None:
    volume = ImageSpec(size=(64, 64, 104))

    with pytest.raises(ConfigError, match=r"max_body_mb: 1 holds no volume of 64x64x104 in float32.*write 2 or more"):
        _check_body_holds(ServeArgs(max_body_mb=1), volume)

    _check_body_holds(ServeArgs(max_body_mb=2), volume)
    _check_body_holds(ServeArgs(max_body_mb=1), ImageSpec(size=(1024, 1024)))


def test_a_damaged_bundle_is_an_error_where_it_is_deployed(store: Store) -> None:
    weights = store.fetch("tiny", store.champion("tiny")) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(BundleError, match="altered"):
        build(ServeArgs(store=store.uri, access="open"))
