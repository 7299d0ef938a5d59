"""Other libraries next to ours: an environment and a process each, driven by JSON lines.

A benchmark starts one script in several environments and asks each process in turn, so that rounds interleave::

    with started(Peer("webdataset", ("numpy", "webdataset")), SCRIPT) as process:
        answer = process.ask({"size": 128})

and the script answers with what a function makes of each question: ``answer(figures)``. The script runs where Rayology
is not installed, so it, and this module which it imports for ``answer``, import nothing of Rayology.
"""

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

__all__ = ["OURS", "Peer", "PeerError", "Process", "answer", "commands", "cpu_seconds", "python_of", "started"]

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".bench"
CONSTRAINTS = ROOT / "platform" / "constraints.txt"
PREPARED = "prepared.txt"  # in an environment that is complete: what it was made of

Json = Mapping[str, object]


class PeerError(Exception):
    """A peer cannot be installed, or its process died, hung or failed; the message says which and why."""


@dataclass(frozen=True)
class Peer:
    """A library to compare with, and what pip installs for it."""

    name: str
    """Name of its folder below ``.bench``."""
    requirements: tuple[str, ...]
    """Installed with all that they need; what is named here, at the version that the project pins, if it pins one."""
    alone: tuple[str, ...] = ()
    """Installed without what they ask for, such as torchvision, which would bring another torch."""


OURS = Peer("rayology", ())
"""The environment that this very process runs in."""


@dataclass(frozen=True)
class Process:
    """A running script that answers questions; it is ended if it does not answer in time."""

    name: str
    pid: int
    _popen: subprocess.Popen[str]
    _log: IO[str]

    def ask(self, question: Json, *, timeout_s: float = 300.0) -> dict[str, object]:
        """Return the answer to one question.

        Raises:
            PeerError: the function raised, the process died (as a segmentation fault makes it), or time ran out.
        """
        assert self._popen.stdin is not None  # noqa: S101 - opened as a pipe
        assert self._popen.stdout is not None  # noqa: S101 - opened as a pipe
        try:
            self._popen.stdin.write(json.dumps(question) + "\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise self._ended("its process died") from None
        line = _line(self._popen.stdout, timeout_s)
        if line is None:
            self._popen.kill()
            raise self._ended(f"no answer in {timeout_s:g} s")
        if not line:
            raise self._ended("its process died")
        found: dict[str, object] = json.loads(line)
        if "error" in found:
            raise PeerError(f"{self.name}: {found['error']}")
        return found

    def _ended(self, how: str) -> PeerError:
        status = self._popen.wait()
        self._log.seek(0)
        last = " ".join(self._log.read().strip().splitlines()[-1:])
        return PeerError(f"{self.name}: {how}, status {status}; its last words: {last or 'none'}")


@contextlib.contextmanager
def started(
    peer: Peer, script: Path, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Process]:
    """Run a script in a peer's environment, with further environment variables, until the block ends.

    Raises:
        PeerError: the environment cannot be made.
    """
    python = python_of(peer)
    # Where this process was told of our own packages, no peer may see them.
    environment = {name: value for name, value in os.environ.items() if peer == OURS or name != "PYTHONPATH"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(  # noqa: S603 - our own script
            [python, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**environment, **variables},
        ) as popen,
    ):
        try:
            yield Process(peer.name, popen.pid, popen, log)
        finally:
            assert popen.stdin is not None  # noqa: S101 - opened as a pipe
            with contextlib.suppress(BrokenPipeError):
                popen.stdin.close()
            try:
                popen.wait(timeout=20)  # a script ends by itself when no question is left
            except subprocess.TimeoutExpired:
                popen.kill()


def python_of(peer: Peer) -> Path:
    """Return the interpreter of a peer's environment, made on first use and again when its requirements change.

    Raises:
        PeerError: pip cannot install it here; says why.
    """
    if peer == OURS:
        return Path(sys.executable)
    folder = ENVIRONMENTS / peer.name
    python = folder / "bin" / "python"
    made_of = _recipe(peer)
    if (folder / PREPARED).is_file() and (folder / PREPARED).read_text(encoding="utf-8") == made_of:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"Installing {peer.name} into {folder.relative_to(ROOT)} ...", file=sys.stderr)
    venv.create(folder, with_pip=True)
    if peer.requirements:
        _install(python, peer, *map(_pinned, peer.requirements))
    if peer.alone:
        _install(python, peer, "--no-deps", *peer.alone)
    (folder / PREPARED).write_text(made_of, encoding="utf-8")
    return python


def answer(figures: Callable[[dict[str, object]], Json]) -> None:
    """Answer the questions on stdin until there are no more: the peer's side of ``Process.ask``.

    What the library prints goes to stderr, and so into a log of which an error quotes the last line.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        try:
            found = figures(json.loads(line))
        except Exception as error:  # noqa: BLE001 - the next question may have an answer
            words = " ".join(str(error).split())[:300]
            found = {"error": f"{type(error).__name__}: {words}"}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


def cpu_seconds(pid: int) -> float:
    """Return what a process and all below it have computed so far, children that ended included (Linux only)."""
    return sum(_ticks_below(pid).values()) / os.sysconf("SC_CLK_TCK")


def commands(pid: int) -> dict[int, str]:
    """Return the command line of a process and of all below it, by their ids (Linux only)."""
    found = {}
    for each in _ticks_below(pid):
        with contextlib.suppress(OSError):  # it ended meanwhile
            words = Path(f"/proc/{each}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            found[each] = " ".join(word.decode(errors="replace") for word in words)
    return found


def _ticks_below(pid: int) -> dict[int, int]:
    """Return what a process and those below it have computed, in ticks of the clock, by their ids."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            # The name, in brackets, may hold spaces; state, parent, ... follow it.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            own = int(stat.parent.name)
            parents[own], ticks[own] = int(fields[1]), sum(map(int, fields[11:15]))
    below = {pid}
    for _ in parents:
        found = {child for child, parent in parents.items() if parent in below} - below
        if not found:
            break
        below |= found
    return {each: ticks[each] for each in below if each in ticks}


def _recipe(peer: Peer) -> str:
    return "\n".join([*map(_pinned, peer.requirements), "--no-deps", *peer.alone, sys.version])


def _pinned(requirement: str) -> str:
    """Add the project's version to a name; pins of what is not named could rule a peer's own needs out."""
    name = requirement.partition("[")[0]
    pins = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith(f"{name}==")]
    return f"{requirement}=={pins[0].partition('==')[2]}" if pins else requirement


def _install(python: Path, peer: Peer, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - pip, on our own table
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise PeerError(f"{peer.name}: not installed: {errors[-1]}")


def _line(stream: IO[str], timeout_s: float) -> str | None:
    """Return a line, nothing at the end of the stream, or None when time runs out."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        # A process writes a whole line at once, so a readable stream has one.
        return stream.readline() if selector.select(timeout_s) else None
