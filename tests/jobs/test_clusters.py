"""The descriptions of clusters, as Ray itself reads them."""

import shlex
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

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "jobs" / "clusters"


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CLUSTERS / name).read_text(encoding="utf-8"))
    return content


def cluster_of(name: str) -> Mapping[str, Any]:
    described = read(name)
    spec: Mapping[str, Any] = described["spec"].get("rayClusterSpec", described["spec"])
    return spec


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_ray_reads_the_groups_of_a_kubernetes_cluster(name: str) -> None:
    resource = {"metadata": {"name": "rayology", "namespace": "default"}, "spec": cluster_of(name)}

    config = _derive_autoscaling_config_from_ray_cr(resource)

    groups = config["available_node_types"]
    assert groups["headgroup"]["resources"]["CPU"] == 0
    assert groups["gpu"]["resources"] == {"CPU": 8, "GPU": 1, "memory": 32 * 2**30}
    assert config["max_workers"] == groups["gpu"]["max_workers"]


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_every_pod_has_one_image_and_the_shared_folder(name: str) -> None:
    spec = cluster_of(name)
    pods = [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]

    assert spec["rayVersion"] == ray.__version__
    assert {container["image"] for pod in pods for container in pod["containers"]} == {"REGISTRY/rayology"}
    for pod in pods:
        (container,), (volume,) = pod["containers"], pod["volumes"]
        assert (container["volumeMounts"][0]["name"], volume["name"]) == ("shared", "shared")


def test_the_job_of_a_kubernetes_cluster_is_one_that_may_be_submitted_again() -> None:
    job = read("rayjob.yaml")["spec"]
    python, script, *words = shlex.split(job["entrypoint"])

    experiment = load(Experiment, [str(ROOT / word) if word.endswith(".yaml") else word for word in words])

    assert (python, (ROOT / script).exists()) == ("python", True)
    assert experiment.resume == "auto"
    assert job["backoffLimit"] > 0
    workers = job["rayClusterSpec"]["workerGroupSpecs"][0]
    assert experiment.scaling.num_workers == workers["maxReplicas"]
    assert experiment.scaling.least_workers == workers["minReplicas"]


def test_ray_up_takes_the_machines() -> None:
    config = prepare_config(read("aws.yaml"))

    validate_config(config)

    assert config["docker"]["image"] == "REGISTRY/rayology"
    assert any("--autoscaling-config" in command for command in config["head_start_ray_commands"])  # Ray's own


def test_the_image_has_the_ray_of_the_project() -> None:
    assert f"RAY={ray.__version__}-py3" in (CLUSTERS / "Dockerfile").read_text(encoding="utf-8")
