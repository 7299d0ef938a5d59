"""What operators see: counts by verb, version and status, of all replicas, behind the token."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serving.exchanges import refused

from rayology.bundle import Bundle
from rayology.serving.admission import Admission
from rayology.serving.monitoring import Monitor
from rayology.serving.rest import RestApp

Counts = dict[tuple[str, ...], float]


def counts(exposition: str, name: str) -> Counts:
    """Return the samples of a name, by the values of their labels."""
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
def session(gan_app: RestApp, open_session: Callable[[RestApp], httpx.Client]) -> httpx.Client:
    return open_session(gan_app)


def test_requests_and_batches_are_counted_and_nothing_that_a_caller_wrote(session: httpx.Client) -> None:
    version = session.get("/").json()["version"]
    for count in (1, 3, 0):
        session.post("/generate", json={"count": count, "seed": 1}, headers={"X-Request-ID": "secret"})
    session.post("/secret", json={})

    told = session.get("/metrics")

    assert told.headers["content-type"].startswith("text/plain; version=0.0.4")
    requests = counts(told.text, "rayology_requests_total")  # by node, status, verb and version
    assert requests == {
        ("", "200", "-", version): 1,
        ("", "200", "generate", version): 2,
        ("", "404", "-", version): 1,
        ("", "422", "generate", version): 1,
    }
    assert counts(told.text, "rayology_batch_images_sum") == {("",): 4}
    assert counts(told.text, "rayology_waiting_images") == counts(told.text, "rayology_complaints") == {("",): 0}
    assert counts(told.text, "rayology_request_seconds_count")["", "generate"] == 3
    assert "secret" not in told.text


def test_who_has_no_token_sees_no_metrics(
    gan_bundle: Bundle, make_app: Callable[..., RestApp], open_session: Callable[[RestApp], httpx.Client]
) -> None:
    app = make_app(gan_bundle, Admission(Admission.digest("token"), 1000, 1.0))

    assert "token is missing" in refused(open_session(app).get("/metrics"), 401)


@pytest.mark.slow
def test_all_replicas_of_a_node_are_counted_together_those_that_ended_too(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    other = f"""
from pathlib import Path
from rayology.serving.monitoring import Monitor
monitor = Monitor(Path({str(folder)!r}), node="n")
monitor.answered("generate", "v", 200, 0.1)
monitor.computed(8)
monitor.stands(num_waiting=5, num_complaints=2)
"""
    subprocess.run([sys.executable, "-c", other], check=True)
    monitor = Monitor(folder, node="n")
    monitor.answered("generate", "v", 200, 0.1)
    monitor.computed(4)
    monitor.stands(num_waiting=2, num_complaints=1)

    told = monitor.exposition().decode()

    assert counts(told, "rayology_requests_total") == {("n", "200", "generate", "v"): 2}
    assert counts(told, "rayology_batch_images_sum") == {("n",): 12}
    assert counts(told, "rayology_waiting_images") == {("n",): 2}, "one that has ended has nobody waiting"
    assert counts(told, "rayology_complaints") == {("n",): 1}


def test_the_last_replica_of_a_node_leaves_nothing_behind(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "metrics")
    monitor.answered("generate", "v", 200, 0.1)

    monitor.close()

    assert not (tmp_path / "metrics").exists()
