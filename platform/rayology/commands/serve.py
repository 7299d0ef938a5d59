"""Serve models as a Serve config file says, behind a HAProxy of their own, until Ctrl-C.

export RAYOLOGY_TOKEN=choose-one
rayology serve serve_configs/demo.yaml
rayology serve serve_configs/demo.yaml --http-options.port 8001
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field

from rayology.config import Config, validated
from rayology.errors import ConfigError
from rayology.progress import console
from rayology.serving import haproxy

OURS = "rayology.serving.app:build"
SERVE_RUN = """
import logging, sys
from ray.serve.scripts import cli
from rayology.serving.readiness import announce
for name in ("ray.serve", "ray._private.authentication.authentication_token_setup"):
    logging.getLogger(name).setLevel(logging.ERROR)
announce(sys.argv.pop().split())
sys.exit(cli(prog_name="serve"))
"""


class HttpOptions(Config):
    """Where Serve listens; takes all that Serve's own ``http_options`` take."""

    model_config = ConfigDict(extra="allow")

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of this machine's."""
    port: int = 8000
    """Port to listen on."""


class Application(Config):
    """One application of Serve's; takes all that Serve's own ``applications`` take."""

    model_config = ConfigDict(extra="allow")

    name: str = "default"
    """What Serve calls it."""
    route_prefix: str = "/"
    """Where its addresses start."""
    import_path: str = OURS
    """What builds it."""
    args: dict[str, object] = Field(default_factory=dict)
    """What it is built with: of ours store, model, version and what else ServeArgs has."""


class ServeConfig(Config):
    """What to serve, where; the file is one that ``serve run`` takes."""

    model_config = ConfigDict(extra="allow")

    http_options: HttpOptions = HttpOptions()
    """Where to listen."""
    applications: tuple[Application, ...]
    """What is served."""


def main(config: ServeConfig) -> Mapping[str, object]:
    """Become ``serve run``, once all that can be known before Ray starts was found in order."""
    from rayology.serving.app import ServeArgs, build  # noqa: PLC0415 - a flag that is wrong need not wait for Ray

    for application in config.applications:
        if application.import_path == OURS:
            build(validated(ServeArgs, application.args, where=f"applications: args of {application.name}"))
    host, port = config.http_options.host, config.http_options.port
    require_free(host, port)
    # Not in TMPDIR, which may be long: the path of a socket may have only 107 characters.
    folder = Path(f"/tmp/rayology-serve-{os.getuid()}-{port}")  # noqa: S108 - it fails where it is someone else's
    environment = {**os.environ, **haproxy.environment(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    file = folder / "serve.yaml"
    file.write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
    ours = [application.route_prefix for application in config.applications if application.import_path == OURS]
    urls = [f"http://{host}:{port}{prefix.rstrip('/')}/" for prefix in ours]
    for url in urls:
        console.print(f"To be served, once a line says that it is ready: {url}", highlight=False)
    words = [sys.executable, "-c", SERVE_RUN, "run", str(file), " ".join(urls)]
    os.execve(sys.executable, words, environment)  # noqa: S606 - our own interpreter


def require_free(host: str, port: int) -> None:
    """Refuse a port on which something listens.

    Raises:
        ConfigError: says how to name another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"http_options: {host}:{port}: {error.strerror}; end what listens there, or name another port with"
                " --http-options.port"
            ) from None
