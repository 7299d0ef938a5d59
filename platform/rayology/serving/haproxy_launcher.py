"""Start HAProxy as Ray does, with a few changes for which Ray has no setting; needs the standard library only.

Its arguments are the path of HAProxy and what Ray passes on.
"""

import ctypes
import json
import os
import re
import signal
import sys
from pathlib import Path

__all__ = ["guarded", "launch"]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GUARDS = """
    # A request comes to a replica when all of it is here, or as much as a buffer holds: those that trickle in, and
    # connections that say nothing, wait here, and not for long.
    option http-buffer-request
    timeout http-request 10s
    timeout http-keep-alive 60s
"""
ERRORS = {
    400: ("Bad Request", "the request is not HTTP that can be understood: see /docs below the model's path"),
    408: ("Request Timeout", "the request came too slowly: send it at once"),
    500: ("Internal Server Error", "the server failed on this request: try again"),
    502: ("Bad Gateway", "the process that computed the answer was lost: try again"),
    503: ("Service Unavailable", "no process can answer now: try again"),
    504: ("Gateway Timeout", "the answer took too long: ask for fewer images"),
}
"""What HAProxy itself answers, by its status."""
NOWHERE = json.dumps({"title": "Not Found", "status": 404, "detail": "no model is served here: see the paths"})
RETRY = 503  # the status that says when to come again


def launch(binary: str, *arguments: str) -> None:
    """Become an HAProxy that dies with its parent, with a configuration that is guarded."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    file = Path(arguments[arguments.index("-f") + 1])
    for status, (title, detail) in ERRORS.items():
        file.with_name(f"{status}.problem").write_bytes(_problem(status, title, detail))
    file.write_text(guarded(file.read_text(encoding="utf-8"), file.parent), "utf-8")
    os.execv(binary, [binary, *arguments])  # noqa: S606 - the arguments are Ray's


def guarded(config: str, folder: Path) -> str:
    """Return Ray's configuration with limits on slow clients and with problem documents for errors.

    What tells of traffic listens on loopback alone, and the names of the models are not told. What is guarded already
    stays as it is.
    """
    config = config.replace("bind :", "bind 127.0.0.1:").replace("bind *:", "bind 127.0.0.1:")
    # Who asks which models there are would not need a token.
    config = re.sub(r"(http-request return status) \d+ .* if routes", r"\1 404 if routes", config)
    if GUARDS in config:
        return config
    files = "".join(f"    errorfile {status} {folder / f'{status}.problem'}\n" for status in ERRORS)
    config = re.sub(r"^ *(errorfile \d+|timeout http-keep-alive) .*\n", "", config, flags=re.MULTILINE)
    # Ray's answer to a path that is no model's quotes it.
    config = re.sub(
        r"http-request return status 404 content-type text/plain .*",
        f"http-request return status 404 content-type application/problem+json string '{NOWHERE}'",
        config,
    )
    head, defaults, rest = re.split(r"(^defaults\n +mode http\n)", config, maxsplit=1, flags=re.MULTILINE)
    return f"{head}{defaults}{GUARDS}{files}{rest}"


def _problem(status: int, title: str, detail: str) -> bytes:
    """Return an answer that is a problem document (RFC 9457)."""
    document = json.dumps({"title": title, "status": status, "detail": detail})
    lines = [
        f"HTTP/1.1 {status} {title}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(document)}",
        *(["Retry-After: 1"] if status == RETRY else []),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", document]).encode()


if __name__ == "__main__":
    launch(*sys.argv[1:])
