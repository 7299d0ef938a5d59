"""What every job promises: one line of JSON at the end, or one line that says what to mend and exit status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def job(name: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "jobs" / f"{name}.py", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "COLUMNS": "80"}
    )


@pytest.fixture
def wrong_key(tmp_path: Path) -> Path:
    file = tmp_path / "wrong.yaml"
    file.write_text("schedul: {steps: 3}\n")
    return file


def test_a_wrong_key_exits_with_2_and_one_line_that_names_the_right_one(wrong_key: Path) -> None:
    ended = job("train", wrong_key)

    assert ended.returncode == 2
    assert ended.stderr == f"ConfigError: {wrong_key}: schedul: no such field; did you mean schedule?\n"
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["--schedule.steps", "-1"], "schedule.steps: Input should be greater than 0, found '-1'"),
        (
            "train",
            ["--resume", "last", "--storage", "/nonexistent/rayology"],
            "resume: /nonexistent/rayology/runs holds no",
        ),
        ("tune", ["--search.objective", "psnr"], "'psnr' is no objective for every model; write one of: mmd"),
        (
            "publish",
            ["--bundle", "/nonexistent"],
            "holds no bundle.json; name a folder that train, tune or publish wrote",
        ),
        ("evaluate", ["--bundle", "/nonexistent"], "holds no bundle.json"),
        ("train", ["nosuch.yaml"], "nosuch.yaml: no such file"),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_to_write(name: str, arguments: list[str], message: str) -> None:
    ended = job(name, *arguments)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["prepare", "train", "tune", "evaluate", "publish"])
def test_help_documents_the_fields_and_how_to_submit(name: str) -> None:
    ended = job(name, "--help")

    assert ended.returncode == 0
    assert "--storage" in ended.stdout or "--store" in ended.stdout
    assert "ray job submit" in (ROOT / "jobs" / f"{name}.py").read_text()


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    ended = job(
        "prepare", "--source.kind", "folder", "--source.path", tmp_path / "empty", "--storage", tmp_path / "storage"
    )

    assert ended.returncode == 2
    assert "SourceError" in ended.stderr
    assert str(tmp_path / "empty") in ended.stderr
