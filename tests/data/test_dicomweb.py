"""What an archive holds comes as it is stored, once; what does not come is counted."""

import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from rayology.data import DicomwebConfig
from rayology.data import wado as wado_module
from rayology.data.dicomweb import DicomwebSource
from rayology.data.wado import Patience
from rayology.errors import SourceError, UnreadableImage

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


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"RAYOLOGY_DICOMWEB_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


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


def test_every_instance_comes_once(archive: Archive, tmp_path: Path) -> None:
    asked = source(archive, tmp_path)

    first = contents(asked)
    second = contents(asked)

    assert first == second == sorted(archive.instances.values())
    assert {archive.asked[name] for name in archive.instances} == {1}


def test_files_are_their_owner_s_and_name_nobody(archive: Archive, tmp_path: Path) -> None:
    (folder,) = {item.path.parent for item in source(archive, tmp_path).items()}

    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [file for file in folder.iterdir() if "1.2" in file.name or file.suffix != ".dcm"]


@pytest.mark.parametrize(
    "trouble",
    [
        *(Answer(status=status) for status in (HANGS_UP, 429, 500, 502, 503, 504)),
        Answer(body=whole(b"half of it").body[:-20]),
        Answer(body=b"nothing", missing=1000),
        Answer(body=whole(b"half of it").body[:60], missing=1000),
        Answer(body=b"no part of anything"),
    ],
)
def test_trouble_that_passes_is_waited_for(archive: Archive, tmp_path: Path, trouble: Answer) -> None:
    archive.answers["1.2.3.4"] = deque([trouble, trouble])

    assert contents(source(archive, tmp_path)) == sorted(archive.instances.values())
    assert archive.asked["1.2.3.4"] == 3


@pytest.mark.parametrize(
    ("trouble", "reason", "times"),
    [
        (Answer(status=503), "did not come from the archive: HTTP 503", 4),
        (Answer(status=HANGS_UP), "did not come from the archive: ConnectionError", 4),
        (Answer(status=404), "did not come from the archive: HTTP 404", 1),
        (Answer(status=403), "did not come from the archive: HTTP 403", 1),
        (Answer(body=whole(b"half of it").body[:-20]), "did not come from the archive: truncated", 4),
        (Answer(kind="text/html", body=b"<p>Log in"), "came from the archive as text/html, no multipart of DICOM", 1),
        (Answer(kind="multipart/related", body=b"?"), "did not come from the archive: MultipartParseError", 4),
        (whole(b"one", b"two"), "came from the archive with another instance", 1),
    ],
)
def test_an_instance_that_does_not_come_is_counted_and_the_rest_goes_on(
    archive: Archive, tmp_path: Path, trouble: Answer, reason: str, times: int
) -> None:
    archive.always["1.2.3.4"] = trouble
    asked = source(archive, tmp_path)

    assert reasons(asked) == [reason]
    assert archive.asked["1.2.3.4"] == times
    assert len(asked.items()) == len(archive.instances)


def test_what_did_not_come_is_asked_for_again_by_the_next_call(archive: Archive, tmp_path: Path) -> None:
    archive.always["1.2.3.4"] = Answer(status=404)
    asked = source(archive, tmp_path)
    assert len(reasons(asked)) == 1
    before = {item.path: item.path.stat().st_mtime_ns for item in asked.items()}
    assert {item.path: item.path.stat().st_mtime_ns for item in asked.items()} == before

    del archive.always["1.2.3.4"]

    assert contents(asked) == sorted(archive.instances.values())
    assert not list(tmp_path.rglob("*.failed"))


def test_an_archive_that_stops_to_answer_is_given_up(archive: Archive, tmp_path: Path) -> None:
    archive.instances = {f"1.2.3.{number}": b"" for number in range(300)}
    archive.always = dict.fromkeys(archive.instances, Answer(status=404))

    with pytest.raises(SourceError, match=r"20 instances in a row did not come, and the last did not come .*HTTP 404"):
        source(archive, tmp_path).items()

    assert sum(archive.asked[name] for name in archive.instances) < 100


@pytest.mark.parametrize("place", ["studies", "series", "instances", "1.2.3.0"])
def test_a_refusal_says_which_variables_to_set(archive: Archive, tmp_path: Path, place: str) -> None:
    archive.always[place] = Answer(status=401)

    with pytest.raises(SourceError, match="refuses who asks; set RAYOLOGY_DICOMWEB_TOKEN, or RAYOLOGY_DICOMWEB_USER"):
        source(archive, tmp_path).items()


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Answer(status=404), "answers HTTP 404; check source.url"),
        (Answer(status=500), "answers HTTP 500; see the archive's own log"),
        (Answer(status=400), "answers HTTP 400; see the archive's own log"),
        (Answer(kind="text/html", body=b"<p>Log in"), "answers with something else than DICOM JSON"),
        (Answer(body=b'["what"]'), "answers with something else than DICOM JSON"),
        (Answer(body=b'[{"00080018": 3}]'), "answers with something else than DICOM JSON"),
        (Answer(body=b"[]"), "finds no instance; ask for more"),
        (Answer(status=204), "finds no instance; ask for more"),
        (Answer(body=b"[", missing=10), "cannot be reached"),
    ],
)
def test_a_list_that_does_not_come_says_what_to_do(
    archive: Archive, tmp_path: Path, answer: Answer, match: str
) -> None:
    archive.always["instances"] = answer

    with pytest.raises(SourceError, match=match):
        source(archive, tmp_path).items()


def test_an_archive_that_is_not_there_says_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/dicom-web"

    with pytest.raises(SourceError, match=r"cannot be reached or is silent \(ConnectionError\); check source\.url"):
        source(url, tmp_path).items()


def test_a_silent_archive_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/dicom-web"

        with pytest.raises(SourceError, match="cannot be reached or is silent"):
            source(url, tmp_path, silence_s=0.05, retries=1).items()


@pytest.mark.slow
def test_an_instance_that_stops_half_way_is_not_waited_for(archive: Archive, tmp_path: Path) -> None:
    archive.always["1.2.3.4"] = Answer(body=b"\r\n--border\r\n\r\nhalf of it", pause_s=0.6)

    assert reasons(source(archive, tmp_path, silence_s=0.3, retries=1))[0].startswith("did not come from the archive")


@pytest.mark.slow
def test_an_instance_that_drips_is_not_waited_for(archive: Archive, tmp_path: Path) -> None:
    archive.always["1.2.3.4"] = Answer(body=whole(bytes(100)).body, pause_s=0.3)

    assert reasons(source(archive, tmp_path, whole_s=0.2, retries=0)) == [
        "did not come from the archive: takes more than 0.2 s"
    ]


def test_an_archive_that_knows_no_pages_is_listed_once(archive: Archive, tmp_path: Path) -> None:
    archive.heeds_offset = False

    assert contents(source(archive, tmp_path)) == sorted(archive.instances.values())


@pytest.mark.parametrize("uid", ["../../etc", "1.2/../x", "", "1" * 65, "1.2?x=1", "Doe^Jane"])
def test_what_is_no_uid_becomes_no_address(archive: Archive, tmp_path: Path, uid: str) -> None:
    sound = sorted(archive.instances.values())
    archive.instances[uid] = b"secret"

    assert contents(source(archive, tmp_path)) == sound


def test_the_limit_is_kept(archive: Archive, tmp_path: Path) -> None:
    config = DicomwebConfig(url=archive.url, limit=3)

    assert len(config.build(tmp_path).items()) == 3
    assert sum(archive.asked[name] for name in archive.instances) == 3


@pytest.mark.parametrize(
    ("environment", "header"),
    [
        ({"TOKEN": "tell-nobody"}, "Bearer tell-nobody"),
        ({"USER": "lab", "PASSWORD": "tell-nobody"}, "Basic bGFiOnRlbGwtbm9ib2R5"),
        ({}, "Basic bmV0cmM6bmV0cmM="),
    ],
)
def test_who_asks_is_read_from_the_environment(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], header: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"RAYOLOGY_DICOMWEB_{name}", value)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc")
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = source(archive, tmp_path)

    asked.items()

    assert set(archive.seen) == {header}
    assert "nobody" not in repr(asked)


def test_no_uid_is_logged(archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive.always["1.2.3.4"] = Answer(status=503)

    with caplog.at_level(logging.DEBUG):
        reasons(source(archive, tmp_path))

    assert "1.2" not in caplog.text
    assert "Fetched 7 instances." in caplog.text
    assert "1 instances are left out: each did not come from the archive: HTTP 503." in caplog.text


@pytest.mark.parametrize("url", ["ftp://archive", "https://me:secret@archive/dicom-web", "archive", "http://a/?b"])
def test_a_url_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        DicomwebConfig(url=url)


def test_a_certificate_that_nobody_vouches_for_is_refused(archive: Archive, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    certificate = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(
        ["openssl", *certificate, "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"],
        capture_output=True,
        check=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    archive.socket = context.wrap_socket(archive.socket, server_side=True)

    with pytest.raises(SourceError, match=r"certificate that cannot be verified; name .* in REQUESTS_CA_BUNDLE"):
        source(archive.url.replace("http:", "https:"), tmp_path).items()


def test_an_instance_that_is_too_large_is_refused(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is lowered, so that no gigabyte has to be sent."""
    monkeypatch.setattr(wado_module, "MAX_BYTES", 20_000)
    archive.instances["1.2.3.4"] = bytes(20_001)

    assert reasons(source(archive, tmp_path)) == ["takes more than 20000 bytes; split the file"]


@pytest.mark.slow
def test_a_large_instance_takes_little_memory(archive: Archive, tmp_path: Path) -> None:
    archive.instances = {"1.2.3.4": bytes(2**26)}
    archive.always["1.2.3.4"] = whole(archive.instances["1.2.3.4"])
    tracemalloc.start()

    (item,) = source(archive, tmp_path).items()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert item.path.stat().st_size == 2**26
    assert peak < 2**22


@pytest.mark.slow
def test_what_came_before_a_kill_is_not_fetched_again(archive: Archive, tmp_path: Path) -> None:
    archive.always["1.2.3.7"] = Answer(body=whole(b"late").body, pause_s=30)
    code = (
        "import sys; from pathlib import Path; from rayology.data import DicomwebConfig;"
        "DicomwebConfig(url=sys.argv[1]).build(Path(sys.argv[2])).items()"
    )
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", code, archive.url, tmp_path], env=os.environ | {"PYTHONPATH": path}
    )
    while len(list(tmp_path.rglob("*.dcm"))) < 7:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()

    archive.always.clear()
    came = contents(source(archive, tmp_path))

    assert came == sorted(archive.instances.values())
    assert {archive.asked[name] for name in archive.instances if name != "1.2.3.7"} == {1}
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk_says_so(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "root").touch()

    with pytest.raises(SourceError, match=r"cannot be written .*free space or set storage"):
        source(archive, tmp_path / "root").items()
