"""The descriptions of clusters, as Ray itself reads them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from rayology.command_line import load
from rayology.experiment import Experiment
from rayology.serving.app import TOKEN, ServeArgs

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "jobs" / "clusters"
KUBERNETES = (CLUSTERS / "raycluster.yaml", CLUSTERS / "rayjob.yaml", ROOT / "serve_configs" / "rayservice.yaml")

every_kind = pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def cluster_of(file: Path) -> Mapping[str, Any]:
    spec = read(file)["spec"]
    cluster: Mapping[str, Any] = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    return cluster


@every_kind
def test_ray_reads_the_groups_of_a_kubernetes_cluster(file: Path) -> None:
    resource = {"metadata": {"name": "rayology", "namespace": "default"}, "spec": cluster_of(file)}

    config = _derive_autoscaling_config_from_ray_cr(resource)

    groups = config["available_node_types"]
    assert groups["headgroup"]["resources"]["CPU"] == 0
    (worker,) = cluster_of(file)["workerGroupSpecs"]
    limits = worker["template"]["spec"]["containers"][0]["resources"]["limits"]
    memory = int(limits["memory"].removesuffix("Gi")) * 2**30
    assert groups["gpu"]["resources"] == {"CPU": int(limits["cpu"]), "GPU": 1, "memory": memory}
    assert config["max_workers"] == groups["gpu"]["max_workers"]


@every_kind
def test_every_pod_has_one_image_and_the_shared_folder(file: Path) -> None:
    spec = cluster_of(file)
    pods = [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]

    assert spec["rayVersion"] == ray.__version__
    assert {container["image"] for pod in pods for container in pod["containers"]} == {"REGISTRY/rayology"}
    for pod in pods:
        (container,), (volume,) = pod["containers"], pod["volumes"]
        assert (container["volumeMounts"][0]["name"], volume["name"]) == ("shared", "shared")


def test_the_job_of_a_kubernetes_cluster_is_one_that_may_be_submitted_again() -> None:
    job = read(CLUSTERS / "rayjob.yaml")["spec"]
    python, script, *words = shlex.split(job["entrypoint"])

    experiment = load(Experiment, [str(ROOT / word) if word.endswith(".yaml") else word for word in words])

    assert (python, (ROOT / script).exists()) == ("python", True)
    assert experiment.resume == "auto"
    assert job["backoffLimit"] > 0
    workers = job["rayClusterSpec"]["workerGroupSpecs"][0]
    assert experiment.scaling.num_workers == workers["maxReplicas"]
    assert experiment.scaling.least_workers == workers["minReplicas"]


@pytest.mark.slow
def test_the_pods_of_a_service_hold_the_token_of_callers_and_start_ray_with_what_haproxy_needs(tmp_path: Path) -> None:
    service = read(ROOT / "serve_configs" / "rayservice.yaml")
    cluster = service["spec"]["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]

    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert service["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] == "true"
    for pod in (cluster["headGroupSpec"], group):
        (container,) = pod["template"]["spec"]["containers"]
        assert container["env"][0]["name"] == TOKEN
        assert set(container["env"][0]["valueFrom"]) == {"secretKeyRef"}
        (start,) = container["args"]
        python = shlex.quote(sys.executable)
        started = start.replace("python -m", f"{python} -m").replace("/tmp/", f"{tmp_path}/")  # noqa: S108 - a pod's
        ended = subprocess.run(
            ["/bin/bash", "-c", "--", started.replace("ulimit -n 65536;", "")],
            env={**os.environ, "KUBERAY_GEN_RAY_START_CMD": "env; echo --resources='{\"a\": 1}'"},
            capture_output=True,
            check=True,
            text=True,
        )
        assert "RAY_SERVE_ENABLE_HA_PROXY=1" in ended.stdout.splitlines()
        assert ended.stdout.endswith('--resources={"a": 1}\n')


def test_the_replicas_of_a_service_have_room_on_its_workers() -> None:
    service = read(ROOT / "serve_configs" / "rayservice.yaml")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    args = ServeArgs.model_validate(application["args"])
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]

    assert args.num_gpus == float(limits["nvidia.com/gpu"])
    assert args.num_threads <= int(limits["cpu"])
    assert (args.num_replicas, args.max_replicas) == (group["minReplicas"], group["maxReplicas"])


def test_ray_up_takes_the_machines() -> None:
    config = prepare_config(read(CLUSTERS / "aws.yaml"))

    validate_config(config)

    assert config["docker"]["image"] == "REGISTRY/rayology"
    assert any("--autoscaling-config" in command for command in config["head_start_ray_commands"])  # Ray's own


def test_the_image_has_the_ray_of_the_project() -> None:
    assert f"RAY={ray.__version__}-py3" in (CLUSTERS / "Dockerfile").read_text(encoding="utf-8")
