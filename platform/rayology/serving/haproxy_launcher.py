"""Start HAProxy as Ray does, with a few changes for which Ray has no setting; needs the standard library only.

Its arguments are the path of HAProxy and what Ray passes on.
"""

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["guarded", "launch", "watch"]

LOOK_S = 0.5  # between two looks at what is watched
END_S = 2.0  # in which Ray ends a manager after its HAProxy
STEADY_S = 5.0  # after which a HAProxy is able to run
MOST_LOSSES = 3  # sooner than that, one after the other, that are made good
ALONE_S = 60.0  # that a HAProxy serves without a manager
STARTED = ".started"  # how the file ends that has, for a configuration, the id of each HAProxy that was started
GUARDS = """
    # A request comes to a replica when all of it is here, or as much as a buffer holds: those that trickle in, and
    # connections that say nothing, wait here, and not for long.
    option http-buffer-request
    # Who said nothing at all is told nothing: HAProxy has only a page for it.
    option http-ignore-probes
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
NOT_YET = json.dumps({"title": ERRORS[503][0], "status": 503, "detail": ERRORS[503][1]})
RETRY = 503  # the status that says when to come again


def launch(binary: str, *arguments: str) -> None:
    """Become a HAProxy with a configuration that is guarded, watched by a process of its own.

    One that serves already, of a manager that was lost, goes on until this one knows the models.
    """
    file = Path(arguments[arguments.index("-f") + 1])
    for status, (title, detail) in ERRORS.items():
        file.with_name(f"{status}.problem").write_bytes(_problem(status, title, detail))
    config = guarded(file.read_text(encoding="utf-8"), file.parent)
    others = [str(pid) for pid in _started(file) if str(pid) not in arguments]
    if others and _knows_models(config):
        arguments = _replacing(others, arguments)
    elif others:
        config = re.sub(r"^ *bind .*\n", "", config, flags=re.MULTILINE)  # Ray asks it by its socket alone
    file.write_text(config, "utf-8")
    _note(file, os.getpid())
    own, manager = os.getpid(), os.getppid()
    watched = [os.pidfd_open(pid) for pid in (own, manager, _parent_of(manager))]
    os.setpgid(0, 0)  # with the group of a manager that was lost, the node ends all that it started
    if os.fork() == 0:
        watch(own, watched, [binary, "-db", "-f", str(file)])
        return
    os.execv(binary, [binary, *arguments])  # noqa: S606 - the arguments are Ray's


def _replacing(others: Sequence[str], arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Add processes to those that HAProxy takes over from, which follow ``-sf``."""
    at = arguments.index("-sf") + 1 if "-sf" in arguments else 0
    return (*arguments[:at], *(() if at else ("-sf",)), *others, *arguments[at:])


def watch(haproxy: int, processes: Sequence[int], command: Sequence[str]) -> None:
    """Start a HAProxy that was lost again, and end it with its node, or some time after Ray's manager of it.

    Ray finds out after some seconds, and starts another manager, whose own HAProxy takes over. One that is lost soon
    after it started, time after time, is not able to run, and is left to Ray.

    Args:
        haproxy: its process id.
        processes: it, its manager and its node, as file descriptors (pidfd_open(2)).
        command: what starts it, of which the last word is the configuration file.
    """
    file = Path(command[-1])
    lived_s = alone_s = 0.0
    losses = 0
    running, manages, lives = processes
    try:
        while not _has_ended(lives) and alone_s < ALONE_S:
            time.sleep(LOOK_S)
            alone_s = alone_s + LOOK_S if _has_ended(manages) else 0.0
            if not _has_ended(running):
                lived_s += LOOK_S
                continue
            time.sleep(END_S)  # in which Ray ends the manager too, if it meant to
            losses = 1 if lived_s >= STEADY_S else losses + 1
            if _started(file, after=haproxy) or _has_ended(manages) or losses > MOST_LOSSES:
                return
            config = file.read_text(encoding="utf-8")
            stand_in = Path(f"{file}.stand-in")  # which Ray cannot take for its own, so that it starts another
            stand_in.write_text(re.sub(r"^ *stats socket .*\n", "", config, flags=re.MULTILINE), "utf-8")
            haproxy, lived_s = os.posix_spawn(command[0], [*command[:-1], str(stand_in)], os.environ), 0.0
            running = os.pidfd_open(haproxy)
            _note(file, haproxy)
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(running, signal.SIGKILL)


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
    # Ray's answer to a path that is no model's quotes it. A HAProxy that knows no model yet was just started again.
    nowhere = f"404 content-type application/problem+json string '{NOWHERE}'"
    if not _knows_models(config):
        nowhere = f"503 content-type application/problem+json string '{NOT_YET}' hdr Retry-After 1"
    config = re.sub(r"(http-request return status) 404 content-type text/plain .*", rf"\1 {nowhere}", config)
    head, defaults, rest = re.split(r"(^defaults\n +mode http\n)", config, maxsplit=1, flags=re.MULTILINE)
    return f"{head}{defaults}{GUARDS}{files}{rest}"


def _knows_models(config: str) -> bool:
    return re.search(r"^ *use_backend ", config, re.MULTILINE) is not None


def _note(config: Path, pid: int) -> None:
    with Path(f"{config}{STARTED}").open("a", encoding="utf-8") as file:
        file.write(f"{pid}\n")


def _started(config: Path, *, after: int = 0) -> list[int]:
    """Return the ids of the HAProxies that were started with a configuration, after one or at all, and live."""
    try:
        pids = [int(line) for line in Path(f"{config}{STARTED}").read_text(encoding="utf-8").split()]
    except FileNotFoundError:
        return []
    pids = pids[pids.index(after) + 1 :] if after in pids else pids
    return [pid for pid in pids if str(config).encode() in _command_of(pid)]


def _command_of(pid: int) -> bytes:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def _has_ended(process: int) -> bool:
    """Tell whether a process has ended, by its file descriptor."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))


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
