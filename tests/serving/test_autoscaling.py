"""The number of replicas goes by the batches that wait, and importing what decides takes no torch."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from rayology.serving.autoscaling import replicas_wanted


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [
        ({"a": 0.0}, 0),
        ({"a": 2.0}, 1),
        ({"a": 2.1, "b": 1.9}, 2),
        ({"a": 9.0, "b": 0.0}, 4.5),
    ],
)
def test_each_replica_has_a_batch_that_is_computed_and_one_that_waits(
    reported: dict[str, float], wanted: float
) -> None:
    load = SimpleNamespace(target_num_replicas=7, aggregated_metrics={"batches": reported})

    assert replicas_wanted(load) == (wanted, {})


@pytest.mark.parametrize("metrics", [None, {}, {"batches": {}}])
def test_while_no_replica_has_reported_their_number_stays(metrics: dict[str, dict[str, float]] | None) -> None:
    assert replicas_wanted(SimpleNamespace(target_num_replicas=7, aggregated_metrics=metrics)) == (7, {})


@pytest.mark.slow
def test_the_controller_of_serve_need_not_import_torch() -> None:
    code = "import sys, rayology.serving.autoscaling; sys.exit('torch' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
