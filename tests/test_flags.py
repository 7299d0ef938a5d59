"""The flags of an experiment, frozen, so that no path, kind, type or default changes unseen.

``python tests/test_flags.py`` writes them anew.
"""

from pathlib import Path

from rayology.config import leaves
from rayology.experiment import Experiment
from rayology.usage import value_text

FLAGS = Path(__file__).with_name("flags.txt")


def flags() -> str:
    """Return a line for each field in each kind: its path with the kinds it belongs to, its type and its default."""
    return "".join(
        sorted(f"{leaf.name}  {leaf.type_text}  {value_text(leaf.default)}\n" for leaf in leaves(Experiment))
    )


def test_paths_kinds_types_and_defaults_are_those_that_were_agreed() -> None:
    assert flags().splitlines() == FLAGS.read_text(encoding="utf-8").splitlines(), (
        "flags were added, renamed or changed; if that is wanted, run python tests/test_flags.py and commit flags.txt"
    )


if __name__ == "__main__":
    FLAGS.write_text(flags(), encoding="utf-8")
