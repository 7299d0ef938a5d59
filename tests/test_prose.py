"""Docstrings, help and messages are in plain English: a few slips that were once made are not made again."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLIPS = {
    r"\bfor ever\b": "write 'forever'",
    r"\bbeside\b": "write 'next to', 'besides' or 'in addition to'",
    r"(?<!there )\b(is|are|was|were) no\b(?! (longer|better|worse|more|less))": "write 'is not a'",
    r"\bwhere (it has|one is|none is|there (is|are))\b|\b(none|nothing|empty|null|0|1) where\b": "write 'if' or 'when'",
    r"\bis taken for\b": "write 'counts as'",
    r"\bshall\b": "write 'must', 'should' or 'will'",
}
PREPOSITION = (
    r"\A(After|Among|As|At|Before|Behind|Below|Between|By|For|From|In|Of|On|Over|To|Under|Until|With|Without)\b"
)


def texts(source: str) -> Iterator[tuple[int, str, bool]]:
    """Give each docstring and message with its line, and whether it describes a field."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", [])
        for before, statement in zip([None, *body], body, strict=False) if isinstance(body, list) else []:
            match statement:
                case ast.Expr(ast.Constant(str(text))):
                    yield statement.lineno, text, isinstance(node, ast.ClassDef) and isinstance(before, ast.AnnAssign)
        match node:
            case ast.Raise() | ast.Call(ast.Attribute(attr="print" | "debug" | "info" | "warning" | "error")):
                for part in ast.walk(node):
                    match part:
                        case ast.Constant(str(text)):
                            yield part.lineno, text, False


def slips(source: str) -> Iterator[tuple[int, str]]:
    """Give the line of each slip, with what was found and what to write."""
    for line, text, is_field in texts(source):
        for pattern, advice in SLIPS.items():
            for found in re.finditer(pattern, " ".join(text.split()), re.IGNORECASE):
                yield line, f"{found[0]!r}: {advice}"
        if is_field and (begin := re.match(PREPOSITION, text)):
            yield line, f"{begin[0]!r} begins a field's docstring: write a noun first"


def test_docstrings_help_and_messages_are_in_plain_english() -> None:
    files = {
        file.relative_to(ROOT).as_posix(): file
        for folder in ("platform/rayology", "jobs")
        for file in sorted((ROOT / folder).rglob("*.py"))
    }

    made = [
        f"{name}:{line}: {slip}"
        for name, file in files.items()
        for line, slip in slips(file.read_text(encoding="utf-8"))
    ]

    assert files
    assert not made, "\n".join(made)


@pytest.mark.parametrize(
    "source",
    [
        'class Cut:\n    size: int\n    """Of the image."""',
        'def cut():\n    """Cut what is\n    no image."""',
        "raise ValueError(f'{name}: has none, where there is one')",
        "logger.info('%s lies beside it.', name)",
    ],
)
def test_slips_are_found_in_docstrings_of_fields_and_functions_and_in_messages(source: str) -> None:
    assert len(list(slips(source))) == 1


def test_longer_better_and_there_may_follow_is_no() -> None:
    assert not list(slips('"""There is no image: it is no longer there, and the other is no better."""'))
