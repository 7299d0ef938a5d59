"""The commands, one a file, behind ``rayology NAME`` and behind the jobs alike.

A command's docstring is the opening of its help. Its flags are read before Ray is imported, which takes seconds.
"""

import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

__all__ = ["COMMANDS", "main", "start"]

COMMANDS: Mapping[str, str] = {
    "prepare": "rayology.experiment:Experiment",
    "train": "rayology.experiment:Experiment",
    "tune": "rayology.experiment:Experiment",
    "evaluate": "rayology.training.evaluation_report:EvaluateConfig",
    "publish": "rayology.commands.publish:PublishConfig",
    "models": "rayology.commands.models:ModelsConfig",
    "runs": "rayology.commands.runs:RunsConfig",
    "generate": "rayology.commands.generate:GenerateConfig",
    "serve": "rayology.commands.serve:ServeConfig",
    "deidentify": "rayology.commands.deidentify:DeidentifyConfig",
}
"""Where the config of each lies, in the order in which one meets them."""


def main() -> None:
    """Run the command that the first word of the command line names; without one, list them all."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in {"-h", "--help"}:
        sys.stdout.write(_listed())
    elif name == "--version":
        sys.stdout.write(f"rayology {version('rayology')}\n")
    elif name in COMMANDS:
        start(name, arguments, program=f"rayology {name}")
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"write one of: {', '.join(COMMANDS)}"
        sys.stderr.write(f"rayology: there is no command {name[:40]!r}; {hint}\n")
        raise SystemExit(2)


def start(name: str, arguments: list[str] | None = None, *, program: str = "") -> None:
    """Run a command with the words of the command line."""
    from rayology.interruption import interruptible  # noqa: PLC0415 - the list of commands needs none of it

    with interruptible():
        from rayology.job import run  # noqa: PLC0415 - takes a second or more

        run(
            pkgutil.resolve_name(COMMANDS[name]),
            lambda config: importlib.import_module(f"rayology.commands.{name}").main(
                config
            ),  # once the flags are right
            arguments=arguments,
            program=program,
            about=_docstring(name),
        )


def _listed() -> str:
    longest = max(map(len, COMMANDS))
    lines = [f"  {name:{longest}}  {_docstring(name).partition(chr(10))[0]}" for name in COMMANDS]
    return "\n".join(
        [
            "usage: rayology COMMAND [FILE.yaml] [--path.to.field VALUE ...]",
            "",
            "Train generative models of medical images, search for the best ones, and serve them.",
            "",
            *lines,
            "",
            "rayology COMMAND --help lists what each takes. RAYOLOGY_DEBUG=1 shows the trace of an error.",
            "",
        ]
    )


def _docstring(name: str) -> str:
    """Return what a command says of itself, without importing it."""
    file = Path(__file__).with_name(f"{name}.py")
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
