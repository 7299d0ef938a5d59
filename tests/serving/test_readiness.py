"""When a server is ready."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from rayology.serving.readiness import answers


class Slow(BaseHTTPRequestHandler):
    """Answers as a proxy does while an application starts, then asks for a token."""

    statuses = iter([503, 404, 401])

    def do_GET(self) -> None:
        self.send_response(next(self.statuses))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_server_answers_once_it_asks_for_a_token_and_not_while_its_proxy_answers_alone() -> None:
    server = HTTPServer(("127.0.0.1", 0), Slow)
    url = f"http://127.0.0.1:{server.server_port}/models/one/"
    threading.Thread(target=server.serve_forever, daemon=True).start()

    answered = [answers(url) for _ in range(3)]
    server.shutdown()
    server.server_close()

    assert answered == [False, False, True]
    assert not answers(url)  # nobody is there any more
