"""A command as text: how it is typed, and its help, sections of flags with their types, defaults and meanings."""

import json
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

__all__ = ["Flag", "Section", "lay_out", "paragraph", "type_text", "typed", "value_text"]

NAMES: Mapping[object, str] = {str: "text", bool: "true | false", Path: "path", NoneType: "null"}


@dataclass(frozen=True)
class Flag:
    """One flag of a command."""

    name: str
    type: str
    """What it takes, as ``type_text`` says it; empty if it takes no value."""
    default: str
    text: str


@dataclass(frozen=True)
class Section:
    """Flags under one title."""

    title: str
    flags: list[Flag] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    """Flags that, given with ``--help``, show what this help leaves out, and what that is."""


def lay_out(opening: Sequence[str], sections: Iterable[Section], *, width: int, examples: Sequence[str] = ()) -> str:
    """Return the help: paragraphs, examples as they are, then the sections that have flags."""
    paragraphs = [_wrapped(paragraph, width) for paragraph in opening]
    if examples:
        paragraphs.append("\n".join(f"  {line}" for line in examples))
    return "\n\n".join([*paragraphs, *("\n".join(_lines(each, width)) for each in sections if each.flags)]) + "\n"


def paragraph(text: str | None) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def typed(*words: str) -> str:
    """Return the line that runs a command here; a submitted job has the package, but not its script."""
    program = ["rayology"] if shutil.which("rayology") else ["python", "-m", "rayology"]
    return shlex.join([*program, *words])


def type_text(annotation: object, marks: Iterable[object] = ()) -> str:
    """Say which values a type takes.

    >>> type_text(tuple[Literal["low", "high"], ...])
    '[low | high, ...]'
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(parts[0], [*parts[1:], *marks])
    if origin in {Literal, Union, UnionType}:
        return " | ".join(str(part) if origin is Literal else type_text(part) for part in parts)
    if origin in {tuple, list}:
        return f"[{', '.join('...' if part is ... else type_text(part) for part in parts)}]"
    if len(parts) == 2:
        return f"{{{type_text(parts[0])}: {type_text(parts[1])}}}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return f"{{{', '.join(f'{key}: {type_text(each.annotation, each.metadata)}' for key, each in fields)}}}"
    return " ".join([NAMES.get(annotation, getattr(annotation, "__name__", str(annotation))), *_limits(marks)])


def value_text(value: object) -> str:
    """Say a value as a flag takes it; a value that must be given is ``required``."""
    if value is PydanticUndefined:
        return "required"
    plain = to_jsonable_python(value)
    return plain if isinstance(plain, str) and plain else json.dumps(plain, ensure_ascii=False)


def _limits(marks: Iterable[object]) -> Iterator[str]:
    """Say what the marks of an annotation demand of a value."""
    flat = [inner for mark in marks for inner in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
    names = ("ge", "gt", "le", "lt", "multiple_of", "pattern")
    limits = {name: getattr(mark, name) for name in names for mark in flat if getattr(mark, name, None) is not None}
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below", "multiple_of": "divisible by"}
    if limits.keys() & {"ge", "le"} == {"ge"}:
        words["ge"] = "at least"
    yield from (f"{words.get(name, 'matching')} {limit}" for name, limit in limits.items())


def _lines(section: Section, width: int) -> Iterator[str]:
    if section.title:
        yield _wrapped(section.title, width)
    for flag in section.flags:
        yield _wrapped("  ".join(filter(None, (flag.name, flag.type, f"({flag.default})"))), width, first=2, then=6)
        if flag.text:
            yield _wrapped(flag.text, width, first=6, then=6)
    if section.others:
        yield "  The fields of another kind are shown by --help with:"
    longest = max(map(len, section.others), default=0)
    for other, text in section.others.items():
        yield f"    {other:{longest}}  {textwrap.shorten(text, max(width - longest - 6, 20), placeholder=' ...')}"


def _wrapped(text: str, width: int, *, first: int = 0, then: int = 0) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * then,
        break_long_words=False,
        break_on_hyphens=False,
    )
