"""Failures of the server, of the client and of the line between them."""

import logging

import httpx
import pytest
from tests.serving.exchanges import refused, talk

from rayology.serving.predictor import Predictor
from rayology.serving.rest import RestApp


def test_a_failure_of_the_server_tells_the_client_and_the_log_nothing_of_the_request(
    gan: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*asked: object, **_: object) -> None:
        raise ValueError(f"cannot draw {asked}")

    monkeypatch.setattr(Predictor, "answer", fail)  # nothing real fails on purpose

    with caplog.at_level(logging.DEBUG, "rayology"):
        answer = gan.post("/generate", json={"seed": 4711})

    refused(answer, 500)
    assert "4711" not in answer.text
    assert "ValueError" in caplog.text
    assert "4711" not in caplog.text


def test_a_client_that_goes_away_while_sending_is_no_failure(
    vae_app: RestApp, caplog: pytest.LogCaptureFixture
) -> None:
    scope = {"type": "http", "method": "POST", "path": "/reconstruct", "query_string": b"", "headers": []}

    assert talk(vae_app, scope, {"type": "http.disconnect"}) == []
    assert all(record.levelno < logging.WARNING for record in caplog.records)


def test_the_server_can_start_and_stop_the_application(gan_app: RestApp) -> None:
    sent = talk(gan_app, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
