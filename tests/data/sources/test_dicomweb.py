"""What an archive holds comes as it is stored, once; what does not come is counted."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from tests.data.dicomweb_server import HANGS_UP, Answer, Archive, contents, reasons, source, whole

from rayology.data import DicomwebConfig

pytestmark = pytest.mark.usefixtures("no_credentials")


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
        (Answer(status=HANGS_UP), "did not come from the archive: RemoteProtocolError", 4),
        (Answer(status=404), "did not come from the archive: HTTP 404", 1),
        (Answer(status=403), "did not come from the archive: HTTP 403", 1),
        (Answer(body=whole(b"half of it").body[:-20]), "did not come from the archive: truncated", 4),
        (Answer(kind="text/html", body=b"<p>Log in"), "came from the archive as text/html, not as multipart DICOM", 1),
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


@pytest.mark.slow
def test_what_did_not_come_is_asked_for_again_by_the_next_call(archive: Archive, tmp_path: Path) -> None:
    archive.always["1.2.3.4"] = Answer(status=404)
    asked = source(archive, tmp_path)
    assert len(reasons(asked)) == 1
    before = {item.path: item.path.stat().st_mtime_ns for item in asked.items()}
    assert {item.path: item.path.stat().st_mtime_ns for item in asked.items()} == before

    del archive.always["1.2.3.4"]

    assert contents(asked) == sorted(archive.instances.values())
    assert not list(tmp_path.rglob("*.failed"))


def test_an_archive_that_knows_no_pages_is_listed_once(archive: Archive, tmp_path: Path) -> None:
    archive.heeds_offset = False

    assert contents(source(archive, tmp_path)) == sorted(archive.instances.values())


def test_the_limit_is_kept(archive: Archive, tmp_path: Path) -> None:
    config = DicomwebConfig(url=archive.url, limit=3)

    assert len(config.build(tmp_path).items()) == 3
    assert sum(archive.asked[name] for name in archive.instances) == 3


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
