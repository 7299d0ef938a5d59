import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.serving.exchanges import refused

from rayology.serving import haproxy_launcher
from rayology.serving.haproxy import environment

CONFIG = "defaults\n  mode http\nfrontend all\n  bind :9101\n  bind *:8404\n  bind 127.0.0.1:8000\n"


def _command_of(pid: int) -> bytes:
    """Return the command line of a process; empty once it has ended, be it collected or not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.slow
def test_haproxy_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG)
    stand_in = tmp_path / "stand-in"  # HAProxy's place is taken by something that would stay
    stand_in.write_text("#!/bin/sh\nexec sleep 60\n")
    stand_in.chmod(0o700)
    command = [sys.executable, haproxy_launcher.__file__, str(stand_in), "-db", "-f", str(config)]
    with subprocess.Popen(
        ["/bin/sh", "-c", f"{shlex.join(command)} > /dev/null & echo $!; wait"], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        while config.read_text() == CONFIG or not _command_of(child).startswith(b"sleep"):
            time.sleep(0.02)

        parent.send_signal(signal.SIGKILL)
        parent.wait()
        time.sleep(0.2)

        assert _command_of(child) == b""


@pytest.mark.slow
def test_haproxy_shows_metrics_and_statistics_on_loopback_alone(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG)

    subprocess.run([sys.executable, haproxy_launcher.__file__, "/bin/true", "-f", str(config)], check=True)

    bound = [line.split()[1] for line in config.read_text().splitlines() if "bind" in line]
    assert bound == ["127.0.0.1:9101", "127.0.0.1:8404", "127.0.0.1:8000"]


@pytest.mark.slow
def test_the_launcher_in_the_folder_starts_haproxy(tmp_path: Path) -> None:
    launcher = environment(tmp_path)["RAY_SERVE_HAPROXY_BINARY_PATH"]
    config = tmp_path / "haproxy.cfg"
    config.write_text("defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n")

    said = subprocess.run([launcher, "-vv", "-f", str(config)], check=True, capture_output=True, text=True)

    assert said.stdout.startswith("HAProxy version")


def test_ray_s_configuration_is_guarded_once() -> None:
    config = (
        "global\n    maxconn 20000\ndefaults\n    mode http\n    errorfile 503 /ray/500.http\n"
        "frontend http_frontend\n    acl routes path -i /-/routes\n"
        '    http-request return status 200 content-type application/json string "{names}" if routes\n'
    )

    guarded = haproxy_launcher.guarded(config, Path("/folder"))

    assert haproxy_launcher.guarded(guarded, Path("/folder")) == guarded
    assert guarded.count("option http-buffer-request") == guarded.count("timeout http-request 10s") == 1
    assert "names" not in guarded
    assert "http-request return status 404 if routes" in guarded
    assert re.findall("errorfile 503 (.*)", guarded) == ["/folder/503.problem"]


@pytest.mark.slow
def test_haproxy_takes_the_guarded_configuration_and_answers_with_problem_documents(tmp_path: Path) -> None:
    config, port = tmp_path / "haproxy.cfg", free_port()
    config.write_text(
        "global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n"
        f"    timeout server 1s\nfrontend http\n    bind 127.0.0.1:{port}\n    default_backend none\nbackend none\n"
    )
    launcher = environment(tmp_path / "folder")["RAY_SERVE_HAPROXY_BINARY_PATH"]

    with subprocess.Popen([launcher, "-db", "-f", str(config)]) as running:
        try:
            answer = asked(f"http://127.0.0.1:{port}/models/any/")
        finally:
            running.kill()

    assert "no process can answer now" in refused(answer, 503)
    assert answer.headers["retry-after"] == "1"


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def asked(url: str) -> httpx.Response:
    """Return the answer of what has just been started."""
    for _ in range(100):
        with suppress(httpx.ConnectError):
            return httpx.get(url)
        time.sleep(0.1)
    raise AssertionError(url)


def test_two_runs_share_neither_files_nor_ports(tmp_path: Path) -> None:
    first, second = environment(tmp_path / "a"), environment(tmp_path / "b")

    own = {name for name in first if name.endswith(("_PATH", "_LOC", "_FILE", "_BASE", "_PORT"))}
    assert len(own) == 9
    assert not {first[name] for name in own} & {second[name] for name in own}


@pytest.mark.slow
def test_the_shell_can_take_the_variables_over(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rayology.serving.haproxy", str(tmp_path / "with space")]

    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    assert "export RAY_SERVE_ENABLE_HA_PROXY=1" in lines
    assert f"export RAY_SERVE_HAPROXY_CONFIG_FILE_LOC='{tmp_path}/with space/haproxy.cfg'" in lines
