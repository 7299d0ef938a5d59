"""Every experiment that ships is valid, and its header says what it costs."""

from pathlib import Path

import pytest

from rayology.command_line import load
from rayology.errors import ConfigError
from rayology.experiment import Experiment
from rayology.search.marks import dimensions, starting_points

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("file", sorted((ROOT / "jobs" / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_is_valid_and_can_be_searched(file: Path) -> None:
    needed = [] if file.stem in {"demo", "phantom"} else ["--source.path", "elsewhere"]
    if needed:
        with pytest.raises(ConfigError, match=r"source\.path: needs a value"):
            load(Experiment, [str(file)])

    experiment = load(Experiment, [str(file), *needed])

    assert dimensions(experiment)
    assert {point["model.kind"] for point in starting_points(experiment)[:2]} == {"vae", "gan"}
    assert file.read_text().startswith("# ")
    assert '"What to expect" in the README' in " ".join(file.read_text().split())
    assert "## What to expect" in (ROOT / "README.md").read_text()


def test_a_batch_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.batch_size: .*at most 1048576"):
        Experiment().patched({"schedule": {"batch_size": 10**11}})
