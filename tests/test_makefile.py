"""``make setup`` deletes what it could not finish, and nothing that was there before."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKES_A_PIP_THAT_FAILS = """#!/bin/sh
test "$1" = -m || exit 0
mkdir -p .venv/bin && printf '#!/bin/sh\\nexit 1\\n' > .venv/bin/pip && chmod +x .venv/bin/pip
"""


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("is_there", [True, False])
def test_a_failed_installation_leaves_an_environment_that_was_there(tmp_path: Path, is_there: bool) -> None:  # noqa: FBT001 - a case
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "platform").mkdir()
    for name in ("pyproject.toml", "platform/constraints.txt"):
        (tmp_path / name).touch()
    python = tmp_path / "python"
    python.write_text(MAKES_A_PIP_THAT_FAILS)
    python.chmod(0o700)
    if is_there:
        (tmp_path / ".venv").mkdir()  # without a pip, as uv makes one

    ended = subprocess.run(["make", f"PYTHON={python}", "setup"], cwd=tmp_path, capture_output=True, check=False)

    assert ended.returncode == 2
    assert (tmp_path / ".venv").exists() == is_there
