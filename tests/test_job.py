"""What every job promises: one line of JSON at the end, or one line that says what to mend and exit status 2."""

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from rayology.config import Config
from rayology.job import run

ROOT = Path(__file__).parents[1]

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def wrong_key(tmp_path: Path) -> Path:
    file = tmp_path / "wrong.yaml"
    file.write_text("schedul: {steps: 3}\n")
    return file


@pytest.mark.slow
def test_a_wrong_key_exits_with_2_and_one_line_that_names_the_right_one(wrong_key: Path) -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "jobs" / "train.py", wrong_key],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
    )

    assert ended.returncode == 2
    assert ended.stderr == f"ConfigError: {wrong_key}: schedul: no such field; did you mean schedule?\n"
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["--schedule.steps", "-1"], "schedule.steps: write a number above 0, found '-1'"),
        ("tune", ["--search.objective", "psnr"], "'psnr' is not an objective; write one of: mmd"),
        (
            "publish",
            ["--bundle", "/nonexistent"],
            "/nonexistent: no such folder; name a folder that train, tune or publish wrote",
        ),
        ("models", ["--action", "rollback", "--store", "/nonexistent"], "/nonexistent: holds no model"),
        ("evaluate", ["--bundle", "/nonexistent"], "/nonexistent: no such folder"),
        (
            "train",
            ["--storage", "/dev/null/x"],
            "storage: /dev/null/x: Not a directory; name a folder that can be written",
        ),
        ("train", ["nosuch.yaml"], "nosuch.yaml: no such file"),
        (
            "train",
            ["--resume", "last", "--storage", "/nonexistent/rayology"],
            "resume: /nonexistent/rayology/runs is not there; give the storage that it began with",
        ),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_to_write(
    name: str, arguments: list[str], message: str, run_job: RunJob
) -> None:
    ended = run_job(f"{name}.py", *arguments)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["prepare", "train", "tune", "evaluate", "publish", "models", "deidentify"])
def test_help_documents_the_fields_and_how_to_submit(name: str, run_job: RunJob) -> None:
    ended = run_job(f"{name}.py", "--help")

    assert ended.returncode == 0
    opening = ended.stdout.splitlines()[:12]
    assert opening[0].startswith(f"usage: {name}.py [FILE.yaml]")
    assert f"  rayology {name} " in "\n".join(opening), "an example is among the first lines"
    assert "--storage" in ended.stdout or "--store" in ended.stdout or "--source" in ended.stdout
    assert "ray job submit" in (ROOT / "jobs" / f"{name}.py").read_text()


class NothingConfig(Config):
    """Nothing to say."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/data"),
            "/data: Permission denied; name a folder that is",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "No space left on device; free some space, or name a folder",
        ),
        (OSError(errno.EADDRINUSE, "Address already in use"), "Address already in use; end what listens there"),
        (ConnectionError("lost"), "lost; name another place, or see that this one can be reached"),
    ],
)
def test_an_error_of_the_system_is_one_line_that_says_what_to_do(
    error: OSError, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: NothingConfig) -> NoReturn:
        raise error

    with pytest.raises(SystemExit, match="2"):
        run(NothingConfig, fail, arguments=[])

    said = capsys.readouterr()
    assert said.err.startswith(message)
    assert len(said.err.splitlines()) == 1
    assert not said.out


@pytest.mark.parametrize("value", ["", "1"])
def test_the_trace_of_an_error_is_logged_if_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    def fail(_: NothingConfig) -> NoReturn:
        raise ConnectionError("lost")

    caplog.set_level(logging.DEBUG, "rayology")  # and back when the test ends
    monkeypatch.setenv("RAYOLOGY_DEBUG", value)

    with pytest.raises(SystemExit, match="2"):
        run(NothingConfig, fail, arguments=[])

    assert ("in fail" in caplog.text) == bool(value)


def test_what_a_library_prints_is_no_part_of_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    def chatter(_: NothingConfig) -> dict[str, object]:
        print("View detailed results here")  # noqa: T201 - as Ray does
        return {"done": True}

    run(NothingConfig, chatter, arguments=[])

    said = capsys.readouterr()
    assert json.loads(said.out)["done"]
    assert "View detailed" in said.err
