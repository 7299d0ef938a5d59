"""Runs that have ended, each kept in a file with what it depends on, so that hours of them may be stopped."""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from rayology.atomic import write_atomic
from rayology.config import Config
from rayology.errors import ConfigError, SourceError

__all__ = ["asked_for", "file_name", "keep", "reading_data", "stored"]

ALL = ("all",)
T = TypeVar("T")


def file_name(words: str) -> str:
    """Return a name for a file or a folder.

    >>> file_name("mednist, packs of 2, seed 0")
    'mednist_packs-of-2_seed-0'
    """
    return words.replace(", ", "_").replace(" ", "-")


def keep(file: Path, key: object, found: object) -> None:
    """Write what came of a run, with what it depends on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps({"key": key, "found": to_jsonable_python(found)}).encode(), mode=0o666)


def stored(file: Path, key: object, kind: type[T]) -> T | None:
    """Return what came of a run that has ended, unless it depended on anything else."""
    kept = json.loads(file.read_bytes()) if file.exists() else {}
    return TypeAdapter(kind).validate_python(kept["found"]) if kept.get("key") == key else None


def asked_for(option: str, asked: Sequence[str], there: Collection[str]) -> list[str]:
    """Return the names that an option asks for, or all.

    Raises:
        ConfigError: there is none of such a name.
    """
    names = [*there] if tuple(asked) == ALL else [*dict.fromkeys(asked)]
    if unknown := [name for name in names if name not in there]:
        raise ConfigError(f"{option}: there is no {unknown[0]!r}; write all, or some of: {'; '.join(there)}")
    return names


@contextmanager
def reading_data(config: type[Config]) -> Iterator[None]:
    """Say of sources below ``data`` what that folder holds.

    Raises:
        ConfigError: a source is not there.
    """
    try:
        yield
    except SourceError as error:
        what, holds = str(error).partition("; ")[0], str(config.model_fields["data"].description).rstrip(".")
        raise ConfigError(f"data: {what}; write the {holds[0].lower()}{holds[1:]}") from None
