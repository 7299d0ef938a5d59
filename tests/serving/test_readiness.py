"""When a server is said to be ready."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rayology.serving import readiness
from rayology.serving.readiness import announce


class Slow(BaseHTTPRequestHandler):
    """Answers as a proxy does while an application starts, then asks for a token."""

    statuses = iter([503, 404, 401])

    def do_GET(self) -> None:
        self.send_response(next(self.statuses))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_server_is_ready_once_it_asks_for_a_token_and_not_while_its_proxy_answers_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "SECONDS_BETWEEN_LOOKS", 0.01)
    server = HTTPServer(("127.0.0.1", 0), Slow)
    url = f"http://127.0.0.1:{server.server_port}/models/one/"

    thread = announce([url])
    said_before = capsys.readouterr().err  # nobody answers yet
    threading.Thread(target=server.serve_forever, daemon=True).start()
    thread.join(30)
    server.shutdown()
    server.server_close()

    assert said_before == ""
    assert capsys.readouterr().err == f"Ready: {url}\n"
    assert next(Slow.statuses, None) is None
