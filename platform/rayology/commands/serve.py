"""Serve models as a Serve config file says, behind a HAProxy of their own, until Ctrl-C.

export RAYOLOGY_TOKEN=choose-one
rayology serve serve_configs/demo.yaml
rayology serve serve_configs/demo.yaml --http-options.port 8001
"""

import difflib
import errno
import importlib.util
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import ConfigDict, Field, field_validator, model_validator

from rayology.config import Config, validated
from rayology.errors import ConfigError
from rayology.interruption import interruptible
from rayology.progress import console
from rayology.serving import admission, haproxy
from rayology.serving.logs import without_advice

if TYPE_CHECKING:
    from rayology.serving.app import ServeArgs

OURS = "rayology.serving.app:build"
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": f"{without_advice.__module__}:{without_advice.__name__}",
}
"""What Ray's processes get, besides what HAProxy needs."""


class _OfServe(Config):
    """A group that takes, besides its fields, what else Serve's own takes, as it is."""

    model_config = ConfigDict(extra="allow")

    others: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _knows_all(cls, values: object) -> object:
        known = [*cls.model_fields, *cls.others]
        for key in values if isinstance(values, Mapping) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"write one of: {', '.join(known)}"
                raise ValueError(f"{key}: no such field; {hint}")
        return values


class HttpOptions(_OfServe):
    """Where Serve listens; takes all that Serve's own ``http_options`` take, but what HAProxy would not do.

    That is TLS, so that tokens would cross in the clear, and a path before all others.
    """

    others: ClassVar = (
        "keep_alive_timeout_s",
        "request_timeout_s",
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of this machine's."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""


class Application(_OfServe):
    """One application of Serve's; takes all that Serve's own ``applications`` take."""

    others: ClassVar = (
        "autoscaling_policy",
        "deployments",
        "external_scaler_enabled",
        "logging_config",
        "runtime_env",
    )

    name: str = "default"
    """What Serve calls it."""
    route_prefix: str = "/"
    """Where its addresses start."""
    import_path: str = OURS
    """What builds it."""
    args: dict[str, object] = Field(default_factory=dict)
    """What it is built with: of ours store, model, version and what else ServeArgs has."""

    @field_validator("route_prefix")
    @classmethod
    def _is_a_path(cls, prefix: str) -> str:
        if not re.fullmatch(r"/[\w.~/-]*", prefix, re.ASCII):
            raise ValueError(f"{prefix!r} is not a path; write one such as /models/demo")
        return prefix


class ServeConfig(_OfServe):
    """What to serve, where; the file is one that ``serve run`` takes."""

    others: ClassVar = (
        "controller_options",
        "grpc_options",
        "logging_config",
        "proxy_location",
        "target_capacity",
        "tracing_config",
    )

    http_options: HttpOptions = HttpOptions()
    """Where to listen."""
    applications: tuple[Application, ...]
    """What is served."""


def main(config: ServeConfig) -> Mapping[str, object]:
    """Serve until an interruption, once all that can be known before Ray starts was found in order."""
    ours = [application for application in config.applications if application.import_path == OURS]
    host, port = config.http_options.host, config.http_options.port
    require_free(host, port)
    if any(application.args.get("access") != "open" for application in ours):
        admission.token()
    sys.path.insert(0, "")  # where `serve run` looks, too
    for application in config.applications:
        require_module(application)
    # What is wrong so far need not wait for these.
    from rayology.preflight import joins_cluster  # noqa: PLC0415
    from rayology.serving import app, server  # noqa: PLC0415

    schema, is_alone = server.schema_of(config.model_dump(mode="json")), not joins_cluster()
    wanted = [validated(app.ServeArgs, each.args, where=f"applications: args of {each.name}") for each in ours]
    if is_alone:
        require_gpus(wanted)
    built = {
        each.name: server.BuiltApplication(app.build(args), f"http://{host}:{port}{each.route_prefix.rstrip('/')}/")
        for each, args in zip(ours, wanted, strict=True)
    }
    for each in built.values():
        console.print(f"To be served, once a line says that it is ready: {each.url}", highlight=False, markup=False)
    # Not in TMPDIR, which may be long, and a short name: HAProxy takes paths of sockets of up to 97 characters.
    place = TemporaryDirectory(prefix="rayology-", dir="/tmp", ignore_cleanup_errors=True)
    with interruptible(status=0), place as folder:
        server.host(schema, built, {**haproxy.environment(Path(folder)), **ENVIRONMENT}, is_alone=is_alone)
    return {}


def require_free(host: str, port: int) -> None:
    """Refuse a port on which something listens, and an address that is not this machine's.

    Raises:
        ConfigError: says how to name another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = "end what listens there, or name another port with --http-options.port"
            if error.errno == errno.EACCES:
                advice = "name a port from 1024 on with --http-options.port"
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                advice = (
                    "name an address of this machine with --http-options.host, such as 127.0.0.1 or 0.0.0.0 for all"
                )
            raise ConfigError(f"http_options: {host}:{port}: {error.strerror}; {advice}") from None


def require_module(application: Application) -> None:
    """Refuse an import path whose module is not there, if it does not come with an environment of its own.

    Raises:
        ConfigError: says which is ours.
    """
    path = application.import_path
    module = path.partition(":")[0] if ":" in path else path.rpartition(".")[0]
    try:
        is_there = "runtime_env" in (application.model_extra or {}) or importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # of a package above it, or an empty name
        is_there = False
    if not is_there:
        hint = f"did you mean {OURS}?" if difflib.get_close_matches(path, [OURS]) else "write MODULE:NAME"
        raise ConfigError(
            f"applications: import_path of {application.name}: {path!r} names no module of this machine; {hint}"
        )


def require_gpus(wanted: "Sequence[ServeArgs]") -> None:
    """Refuse more GPUs than this machine has.

    Raises:
        ConfigError: says how many there are, and what to lower.
    """
    import torch  # noqa: PLC0415 - it is there by now

    asked, there = sum(args.num_gpus * args.num_replicas for args in wanted), torch.cuda.device_count()
    if asked > there:
        raise ConfigError(
            f"applications: num_gpus of all replicas is {asked:g}, this machine has {there} GPUs; lower num_gpus or "
            "num_replicas, or name a cluster in RAY_ADDRESS"
        )
