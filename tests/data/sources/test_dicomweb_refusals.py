"""What an archive that refuses, answers nonsense or is silent makes of a source, and that nobody is named."""

import logging
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from tests.data.dicomweb_server import Answer, Archive, contents, reasons, source, whole

from rayology.data import DicomwebConfig
from rayology.data.sources import service as service_module
from rayology.data.sources.service import Address, Patience, Service
from rayology.errors import SourceError

UNVERIFIED = "has a certificate that cannot be verified; name its authority's file in SSL_CERT_FILE"

pytestmark = pytest.mark.usefixtures("no_credentials")


def test_an_archive_that_stops_to_answer_is_given_up(archive: Archive, tmp_path: Path) -> None:
    archive.instances = {f"1.2.3.{number}": b"" for number in range(300)}
    archive.always = dict.fromkeys(archive.instances, Answer(status=404))

    with pytest.raises(SourceError, match=r"20 instances in a row did not come, and the last did not come .*HTTP 404"):
        source(archive, tmp_path).items()

    assert sum(archive.asked[name] for name in archive.instances) < 100


@pytest.mark.parametrize("place", ["studies", "series", "instances", "1.2.3.0"])
def test_a_refusal_says_which_variables_to_set(archive: Archive, tmp_path: Path, place: str) -> None:
    archive.always[place] = Answer(status=401)

    with pytest.raises(
        SourceError, match="refuses the credentials; set RAYOLOGY_DICOMWEB_TOKEN, or RAYOLOGY_DICOMWEB_USER"
    ):
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

    with pytest.raises(SourceError, match=r"cannot be reached or is silent \(ConnectError\); check source\.url"):
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


@pytest.mark.parametrize("uid", ["../../etc", "1.2/../x", "", "1" * 65, "1.2?x=1", "Doe^Jane"])
def test_what_is_no_uid_becomes_no_address(archive: Archive, tmp_path: Path, uid: str) -> None:
    sound = sorted(archive.instances.values())
    archive.instances[uid] = b"secret"

    assert contents(source(archive, tmp_path)) == sound


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


@pytest.fixture
def untrusted(archive: Archive, tmp_path: Path) -> str:
    """Return the URL of an archive with a certificate that nobody vouches for."""
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
    return archive.url.replace("http:", "https:")


def test_a_certificate_that_nobody_vouches_for_is_refused(untrusted: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=rf"^{untrusted}: the archive {UNVERIFIED}$"):
        source(untrusted, tmp_path).items()


def test_a_certificate_that_is_refused_during_a_fetch_is_the_archives(untrusted: str, tmp_path: Path) -> None:
    with httpx.Client() as client, pytest.raises(SourceError, match=rf"^the archive {UNVERIFIED}$"):
        Service(client, untrusted, Patience(5.0)).fetch(Address("1.2", "1.2.3", "1.2.3.4"), tmp_path / "fetched")


def test_an_instance_that_is_too_large_is_refused(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is lowered, so that no gigabyte has to be sent."""
    monkeypatch.setattr(service_module, "MAX_BYTES", 20_000)
    archive.instances["1.2.3.4"] = bytes(20_001)

    assert reasons(source(archive, tmp_path)) == ["takes more than 20000 bytes; split the file"]


def test_a_full_disk_says_so(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "root").touch()

    with pytest.raises(SourceError, match=r"cannot be written .*free space or set storage"):
        source(archive, tmp_path / "root").items()
