"""A validator that knows every IOD finds no error in a copy that it did not find in the original."""

import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from rayology.deidentify import ProfileConfig, Rule
from rayology.deidentify.treatment import treat

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy; install Debian's dicom3tools"),
]
EVERY_FILE = Rule(reason="every file", when={}, action="pass")
PROFILES = {
    "basic": ProfileConfig(rules=(EVERY_FILE,)),
    "every option": ProfileConfig(
        rules=(EVERY_FILE,),
        dates="shifted",
        descriptors="cleaned",
        retain_device=True,
        retain_institution=True,
        retain_patient=True,
    ),
}
TRUNCATED = ("MR_truncated.dcm", "rtplan_truncated.dcm")
"""Of which the validator reads less than pydicom does, and so finds less."""


def errors(file: Path) -> set[str]:
    """Return what the validator calls an error, without the UIDs that it quotes."""
    ended = subprocess.run(["dciodvfy", file], capture_output=True, text=True, errors="replace", check=False)
    lines = (line.strip() for line in (ended.stdout + ended.stderr).splitlines())
    return {re.sub(r"<[0-9.]+>", "<UID>", line) for line in lines if line.startswith("Error")}


def new_errors(files: list[Path], config: ProfileConfig, folder: Path) -> tuple[int, dict[str, set[str]]]:
    """Return how many files were compared, and what is new in them."""
    compared, found = 0, dict[str, set[str]]()
    for file in files:
        treated = treat(file, config.build(), b"key")
        if treated.written:
            (folder / "copy.dcm").write_bytes(treated.written)
            found[file.name] = errors(folder / "copy.dcm") - errors(file)
            compared += 1
    return compared, {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_file_of_the_zoo_becomes_less_valid(tmp_path: Path, shared_data: Path, profile: str) -> None:
    zoo = shared_data / "dicom_zoo"
    files = [file for file in sorted(zoo.rglob("*")) if file.is_file() and file.name not in TRUNCATED]
    files = files[[*PROFILES].index(profile) :: 4]  # each profile its own

    compared, found = new_errors(files, PROFILES[profile], tmp_path)

    assert found == {}
    assert compared >= 60


@pytest.mark.parametrize("profile", PROFILES)
def test_no_image_of_real_series_becomes_less_valid(tmp_path: Path, shared_data: Path, profile: str) -> None:
    for archive in ("ct_head_ge/ct_head_ge_28", "mr_pgbm003_study/mr_pgbm003_4series_88"):
        with tarfile.open(shared_data / f"{archive}.tar.xz") as opened:
            opened.extractall(tmp_path / "source", filter="data")
    files = sorted(file for file in (tmp_path / "source").rglob("*") if file.is_file())[::8]

    compared, found = new_errors(files, PROFILES[profile], tmp_path)

    assert found == {}
    assert compared == len(files) == 15
