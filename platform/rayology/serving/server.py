"""The applications of a Serve config file, on the Ray that is there or on one of their own, until they are stopped."""

import io
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass

import ray
from pydantic import ValidationError
from ray import serve
from ray.serve.config import gRPCOptions
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, LoggingConfig, ServeDeploySchema

from rayology.errors import ConfigError, ServingError
from rayology.progress import console
from rayology.serving.readiness import answers

__all__ = ["BuiltApplication", "failure_of", "host", "schema_of"]

SECONDS_BETWEEN_LOOKS = 0.5
QUIET = ("ray.serve", "ray._private.authentication.authentication_token_setup")
"""Loggers of this process that tell of each step, and advise to turn tokens off."""
PLAIN = {"name", "route_prefix", "import_path", "args"}
"""What an application states that can be deployed as it was built here; more is for Serve to read."""
TOO_LARGE = re.compile(r"to be scheduled\b.* each replica: (\{.*?\}), total resources available: (\{.*?\})", re.DOTALL)


@dataclass(frozen=True)
class BuiltApplication:
    """An application of the config that was built in this process, and the address at which it will answer."""

    application: serve.Application
    url: str


def schema_of(values: Mapping[str, object]) -> ServeDeploySchema:
    """Return a config as Serve reads it.

    Raises:
        ConfigError: says what Serve refuses.
    """
    try:
        return ServeDeploySchema.model_validate(values)
    except ValidationError as error:
        mistakes = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        sentences = [f"{place}: {sentence.removeprefix('Value error, ')}" for place, sentence in mistakes]
        raise ConfigError(f"Serve refuses the config: {'; '.join(sentences)}") from None


def host(
    schema: ServeDeploySchema,
    built: Mapping[str, BuiltApplication],
    variables: Mapping[str, str],
    *,
    is_alone: bool,
) -> None:
    """Serve until this is interrupted, and then stop all that was started.

    Args:
        schema: what to serve.
        built: those of its applications that were built already, by their names.
        variables: what Ray's processes get as their environment.
        is_alone: whether Ray is started for this, on this machine.

    Raises:
        ServingError: Serve runs on the cluster already, an application cannot be deployed, or there is no room for it
            on a Ray of its own.
    """
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    os.environ |= variables
    terminated = signal.getsignal(signal.SIGTERM)
    context = ray.init(namespace="serve", logging_level=logging.WARNING)
    signal.signal(signal.SIGTERM, terminated)  # Ray put a handler of its own in place
    if _get_global_client(raise_if_no_controller_running=False) is not None:
        ray.shutdown()  # what others serve there goes on
        raise ServingError(
            "Serve runs on this cluster already, and listens where it was told to: add the applications to it with "
            "serve deploy, or name another cluster in RAY_ADDRESS"
        )
    if context.dashboard_url:
        console.print(f"Ray's dashboard: http://{context.dashboard_url}", highlight=False, markup=False)
    try:
        _deploy(schema, built)
        _await(schema, {name: each.url for name, each in built.items()}, is_alone=is_alone)
        threading.Event().wait()
    except ServingError:
        if not is_alone:  # else all ends with Ray, and Serve would wait for a replica that never comes
            serve.shutdown()
        raise
    except BaseException:
        with redirect_stdout(io.StringIO()):  # the end of Serve's controller reads as an error that will be retried
            serve.shutdown()
        raise
    finally:
        ray.shutdown()


def _deploy(schema: ServeDeploySchema, built: Mapping[str, BuiltApplication]) -> None:
    """Start Serve and have it deploy, as ``serve run`` does, but without building again what was built."""
    serve.start(
        proxy_location=schema.proxy_location,
        http_options=schema.http_options.model_dump(),
        grpc_options=gRPCOptions(**schema.grpc_options.model_dump()),
        logging_config=schema.logging_config or LoggingConfig(log_level="WARNING"),
        tracing_config=schema.tracing_config,
        controller_options=schema.controller_options,
    )
    is_plain = schema.target_capacity is None and schema.logging_config is None
    ready = [each for each in schema.applications if is_plain and each.name in built and each.model_fields_set <= PLAIN]
    if ready:
        targets = [serve.RunTarget(built[each.name].application, each.name, each.route_prefix) for each in ready]
        serve.run_many(targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    if rest := [each for each in schema.applications if each not in ready]:
        _get_global_client().deploy_apps(schema.model_copy(update={"applications": rest}))


def _await(schema: ServeDeploySchema, urls: Mapping[str, str], *, is_alone: bool) -> None:
    """Say of each application that it is ready once it answers."""
    waiting, are_running, names = dict(urls), False, {each.name for each in schema.applications}
    while waiting or not are_running:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        found = {name: each for name, each in serve.status().applications.items() if name in names}
        if failures := [words for name, each in found.items() if (words := failure_of(name, each, is_alone=is_alone))]:
            raise ServingError("; ".join(failures))
        running = {name for name, each in found.items() if each.status == ApplicationStatus.RUNNING}
        are_running = running == names
        for name in [name for name, url in waiting.items() if name in running and answers(url)]:
            console.print(f"Ready: {waiting.pop(name)}", highlight=False, markup=False, soft_wrap=True)


def failure_of(name: str, status: ApplicationStatusOverview, *, is_alone: bool) -> str:
    """Say why an application will not run; an empty string if it may."""
    messages = [each.message for each in status.deployments.values()]
    if status.status == ApplicationStatus.DEPLOY_FAILED:
        *_, words = filter(None, map(_error_in, ["Serve does not say why", status.message, *messages]))
        return f"applications: {name} cannot be deployed: {words}"
    for needs, left in (match.groups() for match in map(TOO_LARGE.search, messages) if match and is_alone):
        missing = [key for key, amount in json.loads(needs).items() if json.loads(left).get(key, 0) < amount]
        if missing:
            return (
                f"applications: {name}: a replica takes {needs}, and {left} is left on this machine; lower num_gpus, "
                "num_threads or num_replicas, or name a cluster in RAY_ADDRESS"
            )
    return ""


def _error_in(text: str) -> str:
    """Return what a text says below its last trace, as one line."""
    lines = text.strip().splitlines()
    start = max((number for number, line in enumerate(lines, 1) if line.startswith(" ")), default=0)
    return " ".join(" ".join(lines[start:]).split())
