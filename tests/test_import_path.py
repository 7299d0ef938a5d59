"""What is imported costs what it needs: a fresh interpreter has none of the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayology.commands import COMMANDS

ROOT = Path(__file__).parents[1]

DATA_PLANE = {
    "imagecodecs",
    "matplotlib",
    "nibabel",
    "optuna",
    "pydicom",
    "rayology.data",
    "rayology.metrics",
    "rayology.search",
    "rayology.training",
}
EDGE = DATA_PLANE | {"ray"}
TABLES = {"pandas", "pyarrow"}
WEB = {"fastapi", "starlette", "httpx"}
CLIENT = EDGE | TABLES | {"fastapi", "starlette", "PIL", "pydantic_settings", "rayology.bundle", "torch", "yaml"}
CONFIGS = ", ".join({place.partition(":")[0] for place in COMMANDS.values()})


def _imported(modules: list[str]) -> list[set[str]]:
    """Return what a fresh interpreter has imported after each of some modules."""
    code = "import sys\n" + "\n".join(f"import {module}; print(*sys.modules)" for module in modules)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "platform")}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",  # in one interpreter, because each takes seconds to start
    [
        {
            "rayology.commands": CLIENT | {"numpy", "pydantic", "rayology.job", "rich"},  # a wrong name is said at once
            "rayology.serving": CLIENT | {"numpy"},
            "rayology.client": CLIENT,
            "rayology.job": CLIENT - {"pydantic_settings", "yaml"},  # and a flag before Ray is there
            CONFIGS: {"fastapi", "matplotlib", "ray"},
        },
        {
            "rayology.bundle": EDGE | TABLES | WEB,
            "rayology.store": EDGE | WEB | {"pandas"},
        },
        {
            "rayology.serving.rest": EDGE | {"fastapi", "pandas"},
            "rayology.serving.app": DATA_PLANE
            - {"requests", "rayology.metrics"},  # which Ray imports, and which have gates
        },
    ],
    ids=["commands", "bundle", "serving"],
)
def test_what_is_not_needed_is_not_imported(chain: dict[str, set[str]]) -> None:
    for module, imported in zip(chain, _imported([*chain]), strict=True):
        assert not imported & chain[module], module
