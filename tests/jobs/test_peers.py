"""Processes that answer in JSON: what they say, and what is said of them when they do not."""

import os
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest
from peers import OURS, Peer, PeerError, Process, cpu_seconds, started

SCRIPT = """
import os, sys, time
from peers import answer

def figures(question):
    print("a library chats on stdout")
    match question["do"]:
        case "double":
            return {"found": 2 * question["number"]}
        case "raise":
            raise ValueError("no such number")
        case "abort":
            print("last words", file=sys.stderr)
            os._exit(3)
        case "hang":
            time.sleep(60)
        case "compute":
            ends_at = time.process_time() + 0.3
            while time.process_time() < ends_at:
                pass
            return {}

answer(figures)
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(Path(peers.__file__).parent))
    with started(OURS, script) as process:
        yield process


def test_questions_are_answered_one_after_another(process: Process) -> None:
    assert [process.ask({"do": "double", "number": number})["found"] for number in (1, 21)] == [2, 42]


def test_an_error_is_told_and_the_next_question_answered(process: Process) -> None:
    with pytest.raises(PeerError, match="rayology: ValueError: no such number"):
        process.ask({"do": "raise"})

    assert process.ask({"do": "double", "number": 4}) == {"found": 8}


def test_a_process_that_dies_is_told_from_one_that_fails(process: Process) -> None:
    with pytest.raises(PeerError, match="its process died, status 3; its last words: last words"):
        process.ask({"do": "abort"})


def test_a_process_that_hangs_is_ended(process: Process) -> None:
    with pytest.raises(PeerError, match=r"no answer in 0\.5 s, status -9"):
        process.ask({"do": "hang"}, timeout_s=0.5)
    with pytest.raises(PeerError, match="its process died"):
        process.ask({"do": "double", "number": 1})


@pytest.mark.slow
def test_what_a_process_computes_is_counted(process: Process) -> None:
    process.ask({"do": "double", "number": 1})
    before = cpu_seconds(process.pid)

    process.ask({"do": "compute"})

    assert cpu_seconds(process.pid) - before >= 0.25
    assert cpu_seconds(os.getpid()) >= cpu_seconds(process.pid)


def test_what_is_named_is_installed_at_the_projects_version() -> None:
    version = peers._pinned("ray[data]").removeprefix("ray[data]==")

    assert f"ray=={version}" in peers.CONSTRAINTS.read_text().splitlines()
    assert peers._pinned("webdataset") == "webdataset"


def test_an_environment_is_found_again_until_its_requirements_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)  # .bench holds the real ones
    made = tmp_path / "nothing"
    made.mkdir()
    (made / peers.PREPARED).write_text(peers._recipe(Peer("nothing", ())))

    assert peers.python_of(Peer("nothing", ())) == made / "bin" / "python"
    assert peers._recipe(Peer("nothing", ())) != peers._recipe(Peer("nothing", ("numpy",)))
