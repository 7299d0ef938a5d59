"""The job promises what every job does: one line of JSON at the end, or one line that says what to mend."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

ROOT = Path(__file__).parents[1]

JOB = "deidentify.py"

RunJob = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folders(tmp_path: Path) -> list[str | Path]:
    (tmp_path / "source").mkdir()
    for name in ("CT_small.dcm", "MR_small.dcm"):
        shutil.copy(str(get_testdata_file(name, download=False)), tmp_path / "source")
    return ["--source", tmp_path / "source", "--output", tmp_path / "output", "--private", tmp_path / "private"]


@pytest.mark.slow
def test_the_last_line_counts_what_became_of_the_files(tmp_path: Path, folders: list[str | Path]) -> None:
    command = [sys.executable, ROOT / "jobs" / JOB, *folders, "--profile.dates", "shifted", "--profile.retain-patient"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout.splitlines()[-1])
    assert (answer["written"], answer["held_back"], answer["unreadable"]) == (2, 0, 0)
    copies = [dcmread(copy) for copy in (tmp_path / "output").rglob("*.dcm")]
    assert {copy.LongitudinalTemporalInformationModified for copy in copies} == {"MODIFIED"}
    assert {copy.PatientSex for copy in copies} == {"O", "F"}


def test_rules_come_from_a_file(tmp_path: Path, folders: list[str | Path], run_job: RunJob) -> None:
    (tmp_path / "rules.yaml").write_text("profile: {rules: [{reason: no CT, when: {Modality: CT}}]}\n")

    ended = run_job(JOB, tmp_path / "rules.yaml", *folders)

    assert json.loads(ended.stdout.splitlines()[-1])["held_back"] == 1, ended.stderr
    assert json.loads((tmp_path / "output" / "report.json").read_text())["held_back"] == {"no CT": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "/nonexistent"], "source: /nonexistent: no such folder"),
        ([], "source: needs a value"),
        (["--source", ".", "--private", "deidentified/private"], "lies within"),
        (["--source", ".", "--profile.dates", "moved"], "profile.dates: write 'removed' or 'shifted', found 'moved'"),
    ],
)
def test_a_mistake_exits_with_2_and_says_what_to_write(arguments: list[str], message: str, run_job: RunJob) -> None:
    ended = run_job(JOB, *arguments)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_without_dicom_is_a_mistake(tmp_path: Path, run_job: RunJob) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "notes.txt").write_text("no DICOM")

    ended = run_job(JOB, "--source", tmp_path / "source", "--output", tmp_path / "o", "--private", tmp_path / "p")

    assert ended.returncode == 2
    assert "no file was written" in ended.stderr


def test_help_documents_the_fields(run_job: RunJob) -> None:
    ended = run_job(JOB, "--help")

    assert ended.returncode == 0
    assert "--profile.retain-device" in ended.stdout
