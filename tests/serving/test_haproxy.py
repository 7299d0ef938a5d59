import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
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


@dataclass
class Node:
    """Processes in the place of a Ray node, of its manager of HAProxy, and of HAProxy itself."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "haproxy.cfg"

    @property
    def binary(self) -> Path:
        return self.folder / "haproxy"

    @property
    def started(self) -> list[int]:
        return [int(line) for line in Path(f"{self.config}.started").read_text().split()]

    def run(self, name: str) -> int:
        self.processes[name] = subprocess.Popen([self.binary, name, self.config])
        return self.processes[name].pid

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def launch(self, *arguments: str) -> list[str]:
        """Have a manager that ends use the launcher to start something that only repeats its arguments."""
        manager = ["/bin/sh", "-c", '"$@"; :', "manager"]
        command = [*manager, sys.executable, haproxy_launcher.__file__, "/bin/echo", "-f", str(self.config), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    node.binary.write_text("#!/bin/sh\nsleep 60\n")
    node.binary.chmod(0o700)
    node.config.write_text(f"{CONFIG}  stats socket {tmp_path}/admin\n")
    Path(f"{node.config}.started").write_text(f"{node.run('HAProxy')}\n")
    for name in ("manager", "raylet"):
        node.run(name)
    yield node
    for name in node.processes:
        node.kill(name)


@pytest.fixture
def watcher(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Thread]:
    """Give a watcher that looks often and does not wait long."""
    for name, seconds in {"LOOK_S": 0.02, "END_S": 0.2, "STEADY_S": 0.02, "ALONE_S": 1.0}.items():
        monkeypatch.setattr(haproxy_launcher, name, seconds)
    watched = [os.pidfd_open(node.processes[name].pid) for name in ("HAProxy", "manager", "raylet")]
    command = [str(node.binary), "-db", "-f", str(node.config)]
    thread = threading.Thread(target=haproxy_launcher.watch, args=(node.processes["HAProxy"].pid, watched, command))
    thread.start()
    time.sleep(0.2)
    yield thread
    node.kill("raylet")
    thread.join(timeout=20)
    assert not thread.is_alive()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_haproxy_ends_with_the_node(node: Node, watcher: threading.Thread) -> None:
    node.kill("raylet")

    assert node.processes["HAProxy"].wait(timeout=20) == -signal.SIGKILL
    watcher.join(timeout=20)


def test_a_haproxy_that_is_lost_is_started_again_without_the_socket_by_which_ray_knows_it(
    node: Node, watcher: threading.Thread
) -> None:
    node.kill("HAProxy")
    until(lambda: len(node.started) == 2)
    stand_in = node.started[-1]

    until(lambda: f"-db\0-f\0{node.config}.stand-in".encode() in _command_of(stand_in))
    assert (
        node.config.read_text().replace(f"  stats socket {node.folder}/admin\n", "")
        == Path(f"{node.config}.stand-in").read_text()
    )
    node.kill("raylet")
    watcher.join(timeout=20)
    until(lambda: not _command_of(stand_in))


def test_a_haproxy_that_ray_ends_with_its_manager_stays_ended(node: Node, watcher: threading.Thread) -> None:
    node.kill("HAProxy")
    node.kill("manager")

    watcher.join(timeout=20)

    assert len(node.started) == 1


def test_a_haproxy_that_is_not_able_to_run_is_left_to_ray_in_the_end(
    node: Node, watcher: threading.Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy_launcher, "STEADY_S", 60)
    node.binary.write_text("#!/bin/sh\nexit 1\n")
    node.kill("HAProxy")

    watcher.join(timeout=20)

    assert len(node.started) == 1 + haproxy_launcher.MOST_LOSSES


def test_a_haproxy_that_was_replaced_stays_ended(node: Node, watcher: threading.Thread) -> None:
    with Path(f"{node.config}.started").open("a") as file:
        file.write(f"{node.run('the next one')}\n")
    node.kill("HAProxy")

    watcher.join(timeout=20)

    assert len(node.started) == 2


def test_a_haproxy_goes_on_without_its_manager_for_a_while(node: Node, watcher: threading.Thread) -> None:
    began_at = time.monotonic()
    node.kill("manager")

    assert node.processes["HAProxy"].wait(timeout=20) == -signal.SIGKILL
    assert time.monotonic() - began_at > 0.8
    watcher.join(timeout=20)


@pytest.mark.slow
def test_what_serves_is_replaced_once_another_knows_the_models_and_not_before(node: Node) -> None:
    first, frontend = node.processes["HAProxy"].pid, "frontend http_frontend\n  mode http\n"
    without = f"defaults\n  mode http\n{frontend}  bind 127.0.0.1:8000\n"

    node.config.write_text(without)
    assert "-sf" not in node.launch()
    assert "bind" not in node.config.read_text()

    node.config.write_text(f"{without}  use_backend demo if demo\n")
    assert node.launch("-sf", "1", "-x", "socket")[-5:] == ["-sf", str(first), "1", "-x", "socket"]
    assert node.launch()[:2] == ["-sf", str(first)]
    assert "bind 127.0.0.1:8000" in node.config.read_text()


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


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed_without_a_page(tmp_path: Path) -> None:
    config, port = tmp_path / "haproxy.cfg", free_port()
    text = (
        "global\n    maxconn 100\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 5s\n"
        f"    timeout server 1s\nfrontend http\n    bind 127.0.0.1:{port}\n    default_backend none\nbackend none\n"
    )
    config.write_text(haproxy_launcher.guarded(text, tmp_path).replace("http-request 10s", "http-request 200ms"))
    launcher = environment(tmp_path / "folder")["RAY_SERVE_HAPROXY_BINARY_PATH"]

    with subprocess.Popen([launcher, "-db", "-f", str(config)]) as running:
        try:
            asked(f"http://127.0.0.1:{port}/")
            with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
                said = silent.recv(1000)
        finally:
            running.kill()

    assert said == b""


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


def test_a_haproxy_that_knows_no_model_yet_says_to_come_again() -> None:
    answer = "    http-request return status 404 content-type text/plain lf-string \"Path '%[path]' not found.\"\n"
    without = f"defaults\n    mode http\nbackend default_backend\n{answer}"
    several = (
        f"defaults\n    mode http\nfrontend all\n    use_backend demo if is_demo\nbackend default_backend\n{answer}"
    )

    guarded = [haproxy_launcher.guarded(config, Path("/folder")) for config in (without, several)]

    assert re.findall(r"return status (\d+) content-type (\S+)", guarded[0]) == [("503", "application/problem+json")]
    assert "hdr Retry-After 1" in guarded[0]
    assert re.findall(r"return status (\d+) content-type (\S+)", guarded[1]) == [("404", "application/problem+json")]
    assert "%[path]" not in "".join(guarded)
