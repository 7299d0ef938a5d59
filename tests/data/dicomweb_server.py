"""An archive that speaks DICOMweb and fails on request, and what is asked of it."""

import json
import time
from collections import Counter, deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from rayology.data import DicomwebConfig
from rayology.data.sources.dicomweb import DicomwebSource
from rayology.data.sources.service import Patience
from rayology.errors import UnreadableImage

HANGS_UP = 0
"""Instead of a status: the server says nothing at all."""
MULTIPART = 'multipart/related; type="application/dicom"; boundary=border'


@dataclass(frozen=True)
class Answer:
    """What the server says to one request."""

    status: int = 200
    kind: str = MULTIPART
    body: bytes = b""
    missing: int = 0
    """Bytes that the header promises beyond the body."""
    pause_s: float = 0.0
    """How long to wait before each of the body's halves."""


def whole(*contents: bytes) -> Answer:
    parts = [b"\r\n--border\r\nContent-Type: application/dicom\r\n\r\n" + content for content in contents]
    return Answer(body=b"".join(parts) + b"\r\n--border--\r\n")


class Archive(ThreadingHTTPServer):
    """Speak just enough DICOMweb to fail on request, which a real archive does not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.instances = {f"1.2.3.{number}": f"content {number}".encode() * 1000 for number in range(8)}
        self.answers: dict[str, deque[Answer]] = {}
        self.always: dict[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.seen: list[str] = []
        self.heeds_offset = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dicom-web"

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""

    def answer(self, path: str) -> Answer:
        """Return what was asked for, unless a test wants something else."""
        parts = urlsplit(path)
        name = parts.path.rpartition("/")[2]
        self.asked[name] += 1
        if name in self.always:
            return self.always[name]
        if self.answers.get(name):
            return self.answers[name].popleft()
        if name in self.instances:
            return whole(self.instances[name])
        return self._matches(name, int(parse_qs(parts.query)["offset"][0]))

    def _matches(self, level: str, offset: int) -> Answer:
        names = {"studies": ["1.2"], "series": ["1.2.3"], "instances": list(self.instances)}[level]
        tag = {"studies": "0020000D", "series": "0020000E", "instances": "00080018"}[level]
        found = [{tag: {"vr": "UI", "Value": [name]}} for name in names[offset if self.heeds_offset else 0 :]]
        return Answer(kind="application/dicom+json", body=json.dumps(found).encode())


class Handler(BaseHTTPRequestHandler):
    server: Archive
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(self.headers.get("Authorization", ""))
        answer = self.server.answer(self.path)
        self.close_connection = bool(answer.missing) or answer.status == HANGS_UP
        if answer.status == HANGS_UP:
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body) + answer.missing))
        self.end_headers()
        body = memoryview(answer.body)
        for half in (body[: len(body) // 2], body[len(body) // 2 :]):
            time.sleep(answer.pause_s)
            self.wfile.write(half)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def source(archive: Archive | str, root: Path, **patience: float) -> DicomwebSource:
    url = archive if isinstance(archive, str) else archive.url
    return DicomwebSource(DicomwebConfig(url=url), root, Patience(**{"silence_s": 5.0, "backoff_s": 0.0} | patience))  # type: ignore[arg-type]


def contents(asked: DicomwebSource) -> list[bytes]:
    return sorted(item.path.read_bytes() for item in asked.items())


def reasons(asked: DicomwebSource) -> list[str]:
    """Return why instances did not come."""
    found = []
    for item in asked.items():
        if item.path.suffix != ".dcm":
            with pytest.raises(UnreadableImage) as raised:
                list(asked.read(item))
            found.append(str(raised.value))
    return found
